"""Numbers as a report writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

MANY = 1e6
"""From here on a ratio is written with an exponent."""


def error(value: float) -> str:
    """An error, e.g. ``1.2e-07``."""
    return f"{value:.1e}" if value else "0"


def ratio(value: float) -> str:
    """How many floors: at least two significant digits, e.g. ``0.34``, ``1.7``, ``812``, ``2.1e+08``."""
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "infinite"
    if value >= MANY:
        return f"{value:.1e}"
    if value >= 9.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 0.995 or value == 0 else f"{value:.2g}"


def floors(value: float) -> str:
    """A ratio with its unit, e.g. ``1.7 floors``."""
    if math.isinf(value):
        return "infinitely many floors"
    text = ratio(value)
    return f"{text} {'floor' if text == '1.0' else 'floors'}"


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun, e.g. ``1 step``, ``1,293 steps``."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def number(value: float) -> str:
    """A statistic, e.g. ``-1.23e-03``."""
    return "0" if value == 0 else f"{value:.2e}"


def ranges(indices: Iterable[int]) -> str:
    """Sorted integers as ranges, e.g. ``0-3,5``."""
    ordered = sorted(set(indices))
    runs = [list(run) for _, run in groupby(enumerate(ordered), lambda pair: pair[1] - pair[0])]
    return ",".join(_range([index for _, index in run]) for run in runs)


def _range(run: Sequence[int]) -> str:
    return str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"
