"""One scale for every colour of the report: how many floors an error is.

Up to what is allowed the colours are neutral; beyond, each power of ten is a level whose lightness tells it, so that
the order is read without seeing hues. Colours themselves are in ``html/static/style.css``, for light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LIMITS = (10.0, 100.0, 1e3, 1e4, 1e5, 1e6)
"""Upper limits of the levels beyond what is allowed; one more level for all that is larger."""
LEVELS = 2 + len(LIMITS) + 1
_UNITS = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


@dataclass(frozen=True)
class LevelScale:
    """Levels for one K (`parity.judging.judge.ALLOWED`)."""

    allowed: float

    def level(self, ratio: float) -> int:
        """0: within the floor, 1: within what is allowed, then by powers of ten; -1 where nothing was measured."""
        if math.isnan(ratio):
            return -1
        if ratio <= self.allowed:
            return int(ratio > 1)
        return 2 + sum(ratio > limit for limit in LIMITS)

    @property
    def legend(self) -> Sequence[tuple[int, str]]:
        """Levels and what they mean."""
        limits = (1.0, self.allowed, *LIMITS)
        names = [f"≤ {_round(limit)}" for limit in limits]
        return [*enumerate(names), (LEVELS - 1, f"> {_round(limits[-1])}")]


def compact(ratio: float) -> str:
    """A ratio in a few characters, for a cell: ``0.8``, ``12``, ``4.1k``, ``3.9M``, ``∞``."""
    if math.isnan(ratio):
        return "–"
    if math.isinf(ratio):
        return "∞"
    if ratio >= 1e15:
        return f"{ratio:.0e}".replace("+", "")
    for unit, size in _UNITS:
        if ratio >= 0.9995 * size:
            value = ratio / size
            return f"{value:.1f}{unit}" if value < 9.95 else f"{value:.0f}{unit}"
    return f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


def _round(limit: float) -> str:
    return compact(limit).replace(".0", "")
