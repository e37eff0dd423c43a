"""A logarithmic axis in whole units of 0 (top) to 1000 (bottom): paths of short integers keep a page small."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

HEIGHT = 1000
_MOST_TICKS = 7


@dataclass(frozen=True)
class Axis:
    """Decimal exponents at the bottom and at the top."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Iterable[float], *, low: float = math.inf, high: float = 0.0) -> Axis:
        """An axis that holds all positive finite values, and the limits that are given."""
        finite = [value for value in values if 0 < value < math.inf]
        bottom, top = min((low, *finite)), max((high, *finite))
        if not bottom < math.inf:
            return cls(0.0, 1.0)
        start, stop = math.log10(bottom), math.log10(top)
        return cls(start, max(stop + 0.04 * (stop - start), start + 1))  # room above the largest mark

    def y(self, value: float) -> int:
        """Where a value is; beyond the ends, and infinite, at the end."""
        if value <= 0:
            return HEIGHT
        if math.isinf(value):
            return 0
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(HEIGHT * (1 - min(1.0, max(0.0, share))))

    def ticks(self) -> list[tuple[int, float]]:
        """Powers of ten with their places, from the bottom; every second, third ... where there are many."""
        first, last = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
        stride = max(1, math.ceil((last - first + 1) / _MOST_TICKS))
        powers = [power for power in range(first, last + 1) if power % stride == 0]
        return [(self.y(10.0**power), 10.0**power) for power in powers]
