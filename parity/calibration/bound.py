"""How large a rate may be that showed itself so many times."""

from __future__ import annotations

import math

CONFIDENCE = 0.95
_HALVINGS = 60


def upper_bound(seen: int, of: int, confidence: float = CONFIDENCE) -> float:
    """Clopper and Pearson's upper bound of a rate: a larger one would show itself more often, with that confidence.

    With none seen of n it is nearly 3 / n. Solved by bisection, for the engine has no incomplete beta function.
    """
    if seen >= of:
        return 1.0
    low, high = seen / of, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(seen, of, middle) > 1 - confidence else (low, middle)
    return high


def at_most(seen: int, of: int, rate: float) -> float:
    """The probability of at most so many, where each of `of` has that rate."""
    if rate in (0.0, 1.0):
        return 1.0 - rate
    logs = (_log_choose(of, k) + k * math.log(rate) + (of - k) * math.log1p(-rate) for k in range(seen + 1))
    return math.fsum(map(math.exp, logs))


def _log_choose(of: int, k: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1)
