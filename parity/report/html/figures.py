"""Maps and histograms of a step's page as path data of small SVGs; colours are classes, one set for each theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from parity.report.detail import Heat, Histogram
from parity.report.levels import LevelScale, compact

BINS_HEIGHT = 100
"""The height of a histogram, in its own units."""
CELLS = 480
"""Cells of a map up to which its table has them all; of a larger one it has each row's worst."""
_HEATS = 14
"""Pixels of a map's row."""


@dataclass(frozen=True)
class HeatFigure:
    """A map: one path per level of the colour scale, in units of cells.

    Attributes:
        paths: level and path data; a run of equal cells is one stroke.
        cell: pixels across of a cell.
        ticks: columns that are labelled, and how.
        table: header and rows of the numbers behind it.
    """

    heat: Heat
    paths: tuple[tuple[int, str], ...]
    cell: int
    ticks: tuple[tuple[int, str], ...]
    table: tuple[tuple[str, ...], ...]

    @property
    def width(self) -> int:
        """Pixels of the cells together, or of what is written below them."""
        return max(self.cell * len(self.heat.columns), 110)

    @property
    def height(self) -> int:
        """Pixels of the rows together."""
        return _HEATS * len(self.heat.rows)

    @property
    def row(self) -> int:
        """Pixels of a row."""
        return _HEATS


def heat_figure(heat: Heat, scale: LevelScale) -> HeatFigure:
    """Draw a map."""
    levels = [[scale.level(value) for value in line] for line in heat.values]
    paths = tuple(_runs(levels).items())
    wide = len(heat.columns)
    stride = max(1, math.ceil(wide / 16))
    ticks = tuple((at, heat.columns[at].partition("-")[0]) for at in range(0, wide, stride))
    return HeatFigure(heat, paths, max(7, min(16, 400 // max(1, wide))), ticks, _table(heat))


def _runs(levels: Sequence[Sequence[int]]) -> dict[int, str]:
    """Per level, its cells as horizontal strokes along the middles of their rows."""
    paths: dict[int, list[str]] = {}
    for y, line in enumerate(levels):
        x = 0
        for level, run in groupby(line):
            width = len(list(run))
            paths.setdefault(level, []).append(f"M{x} {y}.5h{width}")
            x += width
    return {level: "".join(strokes) for level, strokes in sorted(paths.items())}


def _table(heat: Heat) -> tuple[tuple[str, ...], ...]:
    if len(heat.rows) * len(heat.columns) <= CELLS:
        head = ("place", *heat.columns)
        return (head, *((row, *map(compact, line)) for row, line in zip(heat.rows, heat.values, strict=True)))
    head = ("place", "worst, in floors", f"at {heat.across}")
    return (head, *(_worst(heat, row, line) for row, line in zip(heat.rows, heat.values, strict=True)))


def _worst(heat: Heat, row: str, line: Sequence[float]) -> tuple[str, ...]:
    known = [(value, at) for at, value in enumerate(line) if not math.isnan(value)]
    if not known:
        return row, "–", ""
    value, at = max(known, key=lambda pair: (pair[0], -pair[1]))
    return row, compact(value), heat.columns[at]


@dataclass(frozen=True)
class HistogramFigure:
    """Counts of several parties as outlines over the same bins.

    Attributes:
        outlines: party and path data, in bins across and `BINS_HEIGHT` down.
        ticks: places across in percent, and labels.
        table: header and rows of the numbers behind it; empty bins are left out.
    """

    histogram: Histogram
    outlines: tuple[tuple[str, str], ...]
    ticks: tuple[tuple[float, str], ...]
    table: tuple[tuple[str, ...], ...]

    @property
    def width(self) -> int:
        """Bins."""
        return len(self.histogram.edges) - 1


def histogram_figure(histogram: Histogram) -> HistogramFigure:
    """Draw a histogram; the fullest bin of all parties has the full height."""
    most = max(map(max, histogram.counts), default=0) or 1
    outlines = tuple(
        (name, _outline(counts, most)) for name, counts in zip(histogram.names, histogram.counts, strict=True)
    )
    return HistogramFigure(histogram, outlines, tuple(_histogram_ticks(histogram)), _bins(histogram))


def _outline(counts: Sequence[int], most: int) -> str:
    """Starts and ends on the ground, one step per bin; the root keeps bins of a few elements visible."""
    heights = [BINS_HEIGHT - round(BINS_HEIGHT * math.sqrt(count / most)) for count in counts]
    return f"M0 {BINS_HEIGHT}" + "".join(f"V{height}h1" for height in heights) + f"V{BINS_HEIGHT}"


def _histogram_ticks(histogram: Histogram) -> list[tuple[float, str]]:
    edges = histogram.edges
    low, high = edges[0], edges[-1]
    if not low < high:
        return []
    if histogram.exponents:
        stride = max(1, math.ceil((high - low) / 6))
        places = [float(power) for power in range(math.ceil(low), math.floor(high) + 1) if power % stride == 0]
    else:
        places = [low + (high - low) * part / 4 for part in range(5)]
    return [(round(100 * (place - low) / (high - low), 1), _bin(histogram, place)) for place in places]


def _bin(histogram: Histogram, value: float) -> str:
    return f"1e{value:g}" if histogram.exponents else f"{value:.3g}"


def _bins(histogram: Histogram) -> tuple[tuple[str, ...], ...]:
    head = ("from", "to", *histogram.names)
    rows = (
        (_edge(histogram, start), _edge(histogram, stop), *(f"{count:,}" for count in counts))
        for start, stop, *counts in zip(histogram.edges, histogram.edges[1:], *histogram.counts, strict=False)
        if any(counts)
    )
    return (head, *rows)


def _edge(histogram: Histogram, value: float) -> str:
    return f"{10.0**value:.1e}" if histogram.exponents else f"{value:.3g}"
