"""Pictures of coloured shapes, drawn from a description.

Drawn with integers alone, so a picture is the same bytes on every machine and with every library.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Choice = TypeVar("Choice")

SIDE: Final = 192
"""Pixels along each side: what the embedded checkpoint's vision tower takes."""

COLORS: Final = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 230), "yellow": (240, 220, 50)}
SHAPES: Final = ("circle", "square", "triangle")
GRAYS: Final = 32  # backgrounds are black to dark gray
# Centres, in pixels. Four quadrants of 96 pixels, and the middle for a shape that is alone.
PLACES: Final = {
    "top left": (48, 48),
    "top right": (144, 48),
    "bottom left": (48, 144),
    "bottom right": (144, 144),
    "middle": (96, 96),
}
QUADRANTS: Final = tuple(PLACES)[:4]
NUMBERS: Final = ("one", "two", "three", "four")
JITTER: Final = 6
RADII: Final = (32, 37)


@dataclass(frozen=True)
class Figure:
    """One shape: what it is, and the column, row and half-width of where it is, in pixels."""

    color: str
    shape: str
    column: int
    row: int
    radius: int

    def covers(self, columns: npt.NDArray[Any], rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Return which of the pixels lie inside."""
        right, down, radius = columns - self.column, rows - self.row, self.radius
        if self.shape == "circle":
            return right**2 + down**2 <= radius**2
        if self.shape == "square":  # 7/8 of the half-width: about as much area as the circle
            return 8 * np.maximum(abs(right), abs(down)) <= 7 * radius
        return (2 * abs(right) <= down + radius) & (down <= radius)


@dataclass(frozen=True)
class Picture:
    """Figures on a plain background; `place` is the name of where the only figure is, empty if it has no name."""

    figures: tuple[Figure, ...]
    gray: int = 0
    place: str = ""

    def pixels(self) -> Pixels:
        """Draw it: RGB [192, 192, 3]."""
        canvas = np.full((SIDE, SIDE, 3), self.gray, np.uint8)
        rows, columns = np.mgrid[:SIDE, :SIDE]
        for figure in self.figures:
            canvas[figure.covers(columns, rows)] = COLORS[figure.color]
        return canvas


def phrase(picture: Picture) -> str:
    """Say what a picture of like figures shows: "a red shape", "three blue shapes"."""
    color, count = picture.figures[0].color, len(picture.figures)
    return f"a {color} shape" if count == 1 else f"{NUMBERS[count - 1]} {color} shapes"


def pick(draw: random.Random, choices: Sequence[Choice]) -> Choice:
    """Choose one. Python promises the stream of `random()` for a seed, but not that of `choice()`."""
    return choices[int(draw.random() * len(choices))]


def figure(draw: random.Random, color: str, shape: str, centre: tuple[int, int]) -> Figure:
    """Draw a size, and a place near the centre."""
    near = range(-JITTER, JITTER + 1)
    column, row = (middle + pick(draw, near) for middle in centre)
    return Figure(color, shape, column, row, pick(draw, range(*RADII)))


def alone(draw: random.Random) -> Picture:
    """One figure at one of five places."""
    place = pick(draw, tuple(PLACES))
    only = figure(draw, pick(draw, tuple(COLORS)), pick(draw, SHAPES), PLACES[place])
    return Picture((only,), pick(draw, range(GRAYS)), place)


def several(draw: random.Random) -> Picture:
    """Two to four like figures in different quadrants."""
    color, shape, free = pick(draw, tuple(COLORS)), pick(draw, SHAPES), list(QUADRANTS)
    places = [free.pop(int(draw.random() * len(free))) for _ in range(pick(draw, (2, 3, 4)))]
    figures = tuple(figure(draw, color, shape, PLACES[place]) for place in places)
    return Picture(figures, pick(draw, range(GRAYS)))
