"""The floor: what correct arithmetic costs at each step, measured on the baseline."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from parity.measure import Error, error_of
from parity.scale import family, is_wide
from parity.trace import Key, Trace

SAMPLE = 64
"""Fewer tokens than that are a poor sample of an arithmetic: see `Floors`."""


@dataclass(frozen=True)
class Floor:
    """The baseline's relative L2 error: of the whole tensor, and of the worst token.

    Attributes:
        beyond: of the whole tensor, where it is rounded to levels, as `Error.beyond`.
        samples: tokens that it rests on, over all members of the family.
    """

    relative: float = 0.0
    worst: float = 0.0
    samples: int = 0
    beyond: float = 0.0

    @classmethod
    def of(cls, error: Error) -> Floor:
        """The floor that one measurement shows."""
        return cls(error.relative, error.worst, error.samples, error.beyond or 0.0)

    def __or__(self, other: Floor) -> Floor:
        """The larger of both."""
        samples, beyond = self.samples + other.samples, max(self.beyond, other.beyond)
        return Floor(max(self.relative, other.relative), max(self.worst, other.worst), samples, beyond)

    def times(self, factor: float) -> Floor:
        """Several times this floor."""
        return Floor(self.relative * factor, self.worst * factor, self.samples, self.beyond * factor)

    def at_least(self, roundoff: float) -> Floor:
        """Not below the unit roundoff; twice that where samples are few, for a sum and its use round once each."""
        least = roundoff if self.samples >= SAMPLE else 2 * roundoff
        return Floor(max(self.relative, least), max(self.worst, least), self.samples, max(self.beyond, least))


class Floors:
    """The baseline's errors against the oracle, in the free run and in lockstep.

    Errors inside a token hang together: one rounding of a norm's root or of a softmax's sum scales all its elements. So
    a step of few tokens shows few samples of its arithmetic, and of a single sample one correct arithmetic errs four
    times as much as another in 16 % of cases. Such a step takes the largest floor of its family, the same computation
    in other layers, streams and phases.

    In the free run it also takes what its family errs from exact inputs, and the floor of the last wide step before
    it: a mean or a norm of a tensor is as uncertain as the tensor.
    """

    def __init__(self, *, oracle: Trace, free: Trace | None, lockstep: Trace | None) -> None:
        self._contract = oracle.contract
        self._wide = {key.step for key, record in oracle.records.items() if is_wide(record)}
        self._free = {} if free is None else _errors(oracle, free)
        self._lockstep = {} if lockstep is None else _errors(oracle, lockstep)
        self._own = self._families(self._lockstep)
        self._grown = self._preceded(self._families(self._free))

    def lockstep(self, key: Key) -> Floor:
        """What the step errs from exact inputs."""
        error = self._lockstep.get(key, Error(0.0, samples=SAMPLE))
        return Floor.of(error) if error.samples >= SAMPLE else self._own[family(key.step)]

    def free(self, key: Key) -> Floor:
        """What the step errs at the end of everything before it."""
        error = self._free.get(key, Error(0.0, samples=SAMPLE))
        return Floor.of(error) if error.samples >= SAMPLE else self._grown[key.step]

    @staticmethod
    def _families(errors: dict[Key, Error]) -> dict[str, Floor]:
        largest: dict[str, Floor] = defaultdict(Floor)
        for key, error in errors.items():
            largest[family(key.step)] |= Floor.of(error)
        return largest

    def _preceded(self, families: dict[str, Floor]) -> dict[str, Floor]:
        """Per step, the floor of its family in both runs, and of the last wide step before it."""
        floors, before = {}, Floor()
        for step in self._contract:
            floor = families[family(step.name)] | self._own[family(step.name)]
            floors[step.name] = floor | before
            before = floor if step.name in self._wide else before
        return floors


def _errors(oracle: Trace, baseline: Trace) -> dict[Key, Error]:
    return {key: error_of(key, oracle=oracle, candidate=baseline) for key in oracle.records}
