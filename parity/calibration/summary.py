"""What many judgements of right candidates say: how many were flagged, and how far from it the others were."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from parity.calibration.result import Head, Result

QUANTILES = (0.5, 0.9, 0.99)
CONFIDENCE = 0.95
_HALVINGS = 60


@dataclass(frozen=True)
class Group:
    """Judgements that have something in common.

    Attributes:
        name: what that is.
    """

    name: str
    results: tuple[Result, ...]

    @cached_property
    def ratios(self) -> tuple[float, ...]:
        """The worst ratio of each judgement, ascending; coarse steps and what was flagged without a ratio left out."""
        return tuple(sorted(result.ratio for result in self.results))

    @property
    def flagged(self) -> tuple[Result, ...]:
        """False alarms: the candidates are right."""
        return tuple(result for result in self.results if result.flagged)

    @property
    def coarse(self) -> int:
        """Judgements with a step that only the plain order of sums explains."""
        return sum(result.coarse is not None for result in self.results)

    @property
    def faint(self) -> Group:
        """Those of them in which bugs below the noise were looked for as well."""
        return Group(f"{self.name}, faint", tuple(result for result in self.results if result.faint))

    @property
    def bound(self) -> float:
        """What the false-alarm rate is at most, with 95 % confidence."""
        return upper_bound(len(self.flagged), len(self.results))

    @property
    def worst(self) -> Result:
        """The judgement that came nearest to a false alarm, or furthest beyond."""
        return max(self.results, key=lambda result: result.ratio)

    def quantile(self, share: float) -> float:
        """The ratio that so large a share of the judgements does not exceed."""
        return self.ratios[min(len(self.ratios) - 1, int(share * len(self.ratios)))]

    def beyond(self, allowed: float) -> float:
        """The share of judgements with a step beyond so many floors: what would be flagged with that K."""
        return sum(ratio > allowed for ratio in self.ratios) / len(self.ratios)


@dataclass(frozen=True)
class Summary:
    """All results of a calibration."""

    head: Head
    results: tuple[Result, ...]

    @cached_property
    def whole(self) -> Group:
        """Every judgement."""
        return Group("all", tuple(result for result in self.results if result.judged))

    @property
    def refused(self) -> Counter[tuple[str, str]]:
        """Candidates that cannot run an input, as a port of text cannot pictures, and why: how often that was so."""
        return Counter((result.candidate, result.refused) for result in self.results if not result.judged)

    def by(self, *fields: str) -> tuple[Group, ...]:
        """Judgements by the values of some fields of theirs."""
        return tuple(_grouped(self.whole.results, fields))


def _grouped(results: Iterable[Result], fields: Sequence[str]) -> Iterator[Group]:
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(", ".join(str(getattr(result, field)) for field in fields), []).append(result)
    for name in sorted(groups):
        yield Group(name, tuple(groups[name]))


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
