"""Error against depth: two panels over the same steps, in floors and as relative error, as paths of one SVG each.

Paths are in units of steps across and of `axis.HEIGHT` down, and are stretched to the page; the script zooms by
changing the view box alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from parity.contract import Contract
from parity.judging.verdict import Deviation, StepVerdict
from parity.report.html.axis import HEIGHT, Axis
from parity.report.html.depth_data import data
from parity.report.html.points import Points, Segment, Series, ratio_of
from parity.traces.trace import Key

LOWEST_RATIO = 0.1
"""Nobody asks how far below a tenth of the floor an error is."""

Reading = Callable[[Deviation | None], float | None]
"""What of a deviation a panel shows."""


@dataclass(frozen=True)
class Marks:
    """One series in one panel, as SVG path data: the free run's line, lockstep's dots, dots of introduced steps."""

    number: int
    line: str
    dots: str
    faults: str


@dataclass(frozen=True)
class Panel:
    """One of the two panels.

    Attributes:
        bands: areas of what is allowed.
        ticks: places down the axis (share of the height) and labels.
    """

    name: str
    unit: str
    axis: Axis
    bands: tuple[str, ...]
    marks: tuple[Marks, ...]
    ticks: tuple[tuple[float, str], ...]
    grid: str


@dataclass(frozen=True)
class Depth:
    """The figure."""

    points: Points
    panels: tuple[Panel, ...]
    labels: tuple[tuple[float, int, str], ...]
    data: str

    @property
    def width(self) -> int:
        """Points across."""
        return len(self.points.keys)


def depth(found: Points, contract: Contract, allowed: float, pages: Mapping[int, Mapping[Key, str]]) -> Depth:
    """Draw the figure of one scenario; `pages` are the ids of step pages, by series."""
    panels = (_in_floors(found, allowed), _as_errors(found, allowed))
    return Depth(found, panels, tuple(labels(found.segments, len(found.keys))), data(found, contract, pages))


def labels(segments: Iterable[Segment], width: int) -> Iterator[tuple[float, int, str]]:
    """Where along the axis (in percent), on which level, and what: as many as have room."""
    least = (5.0, 2.6)  # percent that a phase's name, that a layer's number takes
    free = [0.0, 0.0]
    for segment in segments:
        at = 100 * segment.start / max(1, width)
        if at >= free[segment.level] and 100 * (segment.stop - segment.start) / width >= (2.0, 0)[segment.level]:
            free[segment.level] = at + least[segment.level]
            yield round(at, 2), segment.level, segment.label


def _in_floors(found: Points, allowed: float) -> Panel:
    ratios = [value for series in found.series for step in series.steps for value in _ratios(step)]
    axis = Axis.around((), low=LOWEST_RATIO, high=max([10.0, *(value for value in ratios if value < math.inf)]))
    top, bottom = axis.y(allowed), axis.y(LOWEST_RATIO)
    band = f"M0 {top}h{len(found.keys)}v{bottom - top}h{-len(found.keys)}z"
    marks = tuple(_marks(series, axis, ratio_of) for series in found.series)
    return _panel(axis, len(found.keys), name="floors", unit="times the floor", bands=(band,), marks=marks)


def _as_errors(found: Points, allowed: float) -> Panel:
    steps = [step for series in found.series for step in series.steps if step is not None]
    runs = [run for step in steps for run in (step.free, step.lockstep) if run is not None]
    axis = Axis.around([value for run in runs for value in (run.error, run.floor)])
    firsts = list({series.label.rpartition(" ")[2]: series for series in reversed(found.series)}.values())
    bands = tuple(filter(None, (_band(series, axis, allowed) for series in reversed(firsts))))
    marks = tuple(_marks(series, axis, _error_of) for series in found.series)
    return _panel(axis, len(found.keys), name="error", unit="relative error", bands=bands, marks=marks)


def _panel(axis: Axis, width: int, *, name: str, unit: str, bands: tuple[str, ...], marks: tuple[Marks, ...]) -> Panel:
    ticks = tuple((round(place / HEIGHT * 100, 1), _power(value)) for place, value in axis.ticks())
    grid = "".join(f"M0 {place}h{width}" for place, _ in axis.ticks())
    return Panel(
        name=name,
        unit=unit,
        axis=axis,
        bands=bands,
        marks=marks,
        ticks=ticks,
        grid=grid,
    )


def _power(value: float) -> str:
    exponent = round(math.log10(value))
    return (
        f"{value:g}"
        if -2 < exponent < 4
        else "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    )


def _error_of(deviation: Deviation | None) -> float | None:
    return None if deviation is None or math.isnan(deviation.error) else deviation.error


def _ratios(step: StepVerdict | None) -> Iterator[float]:
    runs = (step.free, step.lockstep) if step else ()
    return (value for run in runs if (value := ratio_of(run)) is not None)


def _marks(series: Series, axis: Axis, measured: Reading) -> Marks:
    free = [measured(step.free) if step else None for step in series.steps]
    lockstep = [measured(step.lockstep) if step else None for step in series.steps]
    own = [value if value is not None else other for value, other in zip(lockstep, free, strict=True)]
    faulty = [step is not None and step.status.origin for step in series.steps]
    dots = [value if not fault else None for value, fault in zip(lockstep, faulty, strict=True)]
    # what breaks the contract has no error; it is marked at the top all the same
    faults = [
        (math.inf if value is None else value) if fault else None for value, fault in zip(own, faulty, strict=True)
    ]
    return Marks(series.number, _line(free, axis), _dots(dots, axis), _dots(faults, axis))


def _line(values: Sequence[float | None], axis: Axis) -> str:
    """Relative moves are shorter than places; a value of zero has no place on a logarithmic axis and leaves a gap."""
    path: list[str] = []
    last, before = -1, 0
    for at, value in enumerate(values):
        if not value:
            continue
        y = axis.y(value)
        path.append(f"l1 {y - before}" if last == at - 1 and path else f"M{at}.5 {y}")
        last, before = at, y
    return "".join(path).replace(" -", "-")


def _dots(values: Sequence[float | None], axis: Axis) -> str:
    """A stroke of no length with a round cap is a dot of the stroke's width, however the picture is stretched."""
    path: list[str] = []
    last, before = 0, 0
    for at, value in enumerate(values):
        if not value:
            continue
        y = axis.y(value)
        path.append(f"m{at - last} {y - before}h0" if path else f"M{at}.5 {y}h0")
        last, before = at, y
    return "".join(path).replace(" -", "-")


def _band(series: Series, axis: Axis, allowed: float) -> str:
    """The area from the floor to K floors, of lockstep where there is one."""
    floors = [_floor(step) for step in series.steps]
    path = []
    for start, stop in _known(floors):
        known = [floor for floor in floors[start:stop] if floor]
        above = [f"L{start + at}.5 {axis.y(allowed * floor)}" for at, floor in enumerate(known)]
        below = [f"L{start + at}.5 {axis.y(floor)}" for at, floor in reversed(list(enumerate(known)))]
        path.append("M" + "".join(above)[1:] + "".join(below) + "z")
    return "".join(path)


def _floor(step: StepVerdict | None) -> float | None:
    run = (step.lockstep or step.free) if step else None
    return run.floor if run and 0 < run.floor < math.inf else None


def _known(values: Sequence[float | None]) -> Iterator[tuple[int, int]]:
    """Stretches without a gap."""
    start = None
    for at, value in enumerate([*values, None]):
        if value is not None and start is None:
            start = at
        elif value is None and start is not None:
            yield start, at
            start = None
