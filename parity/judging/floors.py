"""The floor: what correct arithmetic costs at each step, measured on the baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from itertools import groupby
from operator import or_

from parity.axes import LOOKS, Look
from parity.dtypes import number_format, unit_roundoff
from parity.traces.coverage import missing
from parity.traces.measure import Error, error_of
from parity.traces.measured import Errors, Execution
from parity.traces.runs import Runs
from parity.traces.scale import family, is_wide, layout_of
from parity.traces.trace import Key, Mode, Trace

SAMPLE = 64
"""Fewer places than that are a poor sample of an arithmetic: see `Floors`."""


ROUNDINGS = 2.0**16
"""Units of roundoff that no floor of a whole tensor exceeds: each of n terms of a sum costs one at worst, and the
longest sum has 2**14 terms (the width of the published model's MLP); an angle of the rotary embedding is off by one for
each position, of which there are 2**15. 232 is the most that was measured, in the free run of 25 layers in float32."""
NO_DIGIT = 1.0
"""As far off as zeros would be. In 16 bits a free run may come near it: 0.27 is the most that was measured."""


def plausible(arithmetic: str) -> float:
    """The largest relative error of a whole tensor that can be a floor; what errs more is wrong, or another tensor.

    An arithmetic with a qualifier rounds more than its number format does, as products of 8-bit integers do.
    """
    rounds_more = arithmetic != number_format(arithmetic)
    return NO_DIGIT if rounds_more else min(NO_DIGIT, ROUNDINGS * unit_roundoff(arithmetic))


@dataclass(frozen=True)
class Floor:
    """The baseline's relative L2 error, as each look shows it (`parity.traces.measure.View`).

    Attributes:
        views: what was looked at; nothing else was measured.
        samples: places that it rests on, over all members of the family.
    """

    views: Mapping[Look, float] = field(default_factory=dict)
    samples: int = 0

    @classmethod
    def of(cls, error: Error) -> Floor:
        """The floor that one measurement shows."""
        return cls({view.look: view.error for view in error.views}, error.samples)

    @classmethod
    def whole(cls, relative: float) -> Floor:
        """The floor of a whole tensor, of which nothing else was measured."""
        return cls({"tensor": relative})

    @property
    def relative(self) -> float:
        """Of the whole tensor; 0 where it was not measured."""
        return self.at("tensor")

    def at(self, look: Look) -> float:
        """Of one look; 0 where it was not measured."""
        return self.views.get(look, 0.0)

    def __or__(self, other: Floor) -> Floor:
        """The larger of both."""
        views = {look: max(self.at(look), other.at(look)) for look in {**self.views, **other.views}}
        return Floor(views, self.samples + other.samples)

    def times(self, factor: float) -> Floor:
        """Several times this floor."""
        return Floor({look: value * factor for look, value in self.views.items()}, self.samples)

    def of_one_place(self) -> Floor:
        """For a tensor of a single place, which is all of that place: it may err as the worst place of its family does.

        What a rotation errs grows with the position, so the last token's key alone errs 2.3 of the floors of places
        where it errs 4.3 of those of whole tensors, which are means over many positions.
        """
        return Floor({**self.views, "tensor": max(self.at("tensor"), self.at("place"))}, self.samples)

    def at_least(self, roundoff: float) -> Floor:
        """Not below the unit roundoff; twice that where samples are few, for a sum and its use round once each."""
        least = roundoff if self.samples >= SAMPLE else 2 * roundoff
        return Floor({look: max(self.at(look), least) for look in LOOKS}, self.samples)


class Floors:
    """The baseline's errors against the oracle, in the free run and in lockstep.

    Errors inside a place hang together: one rounding of a norm's root or of a softmax's sum scales all its elements. So
    a step of few places shows few samples of its arithmetic, and of a single sample one correct arithmetic errs four
    times as much as another in 16 % of cases. Such a step takes the largest floor of its family, the same computation
    in other layers, streams and phases; but not of a member before which more is missing, for that is another
    computation, and of a larger floor.

    In the free run it also takes what its family errs from exact inputs, and the floor of the last wide step before
    it: a mean or a norm of a tensor is as uncertain as the tensor.

    Of several executions the largest error counts: which of them another machine's is like is not known.
    """

    def __init__(
        self, *, oracle: Trace, free: Trace | None, lockstep: Trace | None, executions: Sequence[Execution] = ()
    ) -> None:
        self._contract = oracle.contract
        self._wide = {key.step for key in oracle.records if is_wide(layout_of(key, oracle))}
        self._free = _pooled(oracle, free, [each.free for each in executions])
        self._lockstep = _pooled(oracle, lockstep, [each.lockstep for each in executions])
        self._gaps = _gaps(oracle, lockstep)
        self._own = self._families(self._lockstep)
        self._alike = self._by_gap()
        self._grown = self._preceded(self._families(self._free))

    def lockstep(self, key: Key) -> Floor:
        """What the step errs from exact inputs."""
        floor = self._lockstep.get(key, EXACT)
        return floor if floor.samples >= SAMPLE else self._of_family(key)

    def free(self, key: Key) -> Floor:
        """What the step errs at the end of everything before it."""
        floor = self._free.get(key, EXACT)
        return floor if floor.samples >= SAMPLE else self._grown[key.step]

    def measured(self) -> Iterator[tuple[Mode, Key, Floor]]:
        """What the baseline errs at each step that it emitted, as it is."""
        yield from (("free", key, floor) for key, floor in self._free.items())
        yield from (("lockstep", key, floor) for key, floor in self._lockstep.items())

    def _of_family(self, key: Key) -> Floor:
        """The largest floor of those members before which nothing is missing that is not missing here as well."""
        here = self._gaps.get(key, NO_GAP)
        members = (floor for gap, floor in self._alike[family(key.step)].items() if gap <= here)
        return reduce(or_, members, Floor())

    def _by_gap(self) -> dict[str, dict[Gap, Floor]]:
        """Per family, the largest floor of the members with the same missing before them."""
        found: dict[str, dict[Gap, Floor]] = defaultdict(lambda: defaultdict(Floor))
        for key, floor in self._lockstep.items():
            found[family(key.step)][self._gaps.get(key, NO_GAP)] |= floor
        return found

    @staticmethod
    def _families(floors: Mapping[Key, Floor]) -> dict[str, Floor]:
        largest: dict[str, Floor] = defaultdict(Floor)
        for key, floor in floors.items():
            largest[family(key.step)] |= floor
        return largest

    def _preceded(self, families: dict[str, Floor]) -> dict[str, Floor]:
        """Per step, the floor of its family in both runs, and of the last wide step before it."""
        floors, before = {}, Floor()
        for step in self._contract:
            floor = families[family(step.name)] | self._own[family(step.name)]
            floors[step.name] = floor | before
            before = floor if step.name in self._wide else before
        return floors


@lru_cache(maxsize=8)  # all candidates of one scenario and coverage share a baseline
def floors_of(oracle: Trace, baseline: Runs) -> Floors:
    """The floors that a baseline's runs and executions show; what it errs in plain order is not one of them."""
    return Floors(oracle=oracle, free=baseline.free, lockstep=baseline.lockstep, executions=baseline.executions)


Gap = frozenset[str]
"""Families of the steps that are missing between a step and the last member of its own family before it."""

NO_GAP: Gap = frozenset()


def _gaps(oracle: Trace, lockstep: Trace | None) -> dict[Key, Gap]:
    """What is missing before each step that the run emitted in the oracle's shape."""
    absent = missing(oracle=oracle, run=lockstep)
    gaps: dict[Key, Gap] = {}
    for _, keys in groupby(oracle.records, lambda key: key.phase):
        passed: list[str] = []
        since: dict[str, int] = {}
        for key in keys:
            if key in absent:
                passed.append(family(key.step))
            else:
                gaps[key] = frozenset(passed[since.get(family(key.step), 0) :])
                since[family(key.step)] = len(passed)
    return gaps


EXACT = Floor(samples=SAMPLE)
"""Of a step that the baseline did not emit: no error but the unit roundoff."""


def _pooled(oracle: Trace, baseline: Trace | None, further: Sequence[Errors]) -> dict[Key, Floor]:
    """The largest error of each step over all executions, which rests on no more places for that."""
    found: dict[Key, Floor] = {}
    for errors in (*([_errors(oracle, baseline)] if baseline else []), *further):
        for key, error in errors.items():
            floor = Floor.of(error)
            found[key] = replace(found.get(key, floor) | floor, samples=floor.samples)
    return found


def _errors(oracle: Trace, baseline: Trace) -> dict[Key, Error]:
    """What a run errs at the steps that it has."""
    shared = (key for key in oracle.records if key in baseline.records)
    return {key: error_of(key, oracle=oracle, candidate=baseline) for key in shared}
