"""What follows from a wrong length: an id too many makes everything behind it longer by one, and caches too.

In lockstep a value of another shape than the oracle's cannot be replaced. So a candidate carries it on, and what it
makes of that does not start from exact inputs: it is inherited, in its shape and in its values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from parity.dtypes import kind_of
from parity.judging.verdict import Status, StepVerdict
from parity.traces.trace import Key, Record, Trace

BEHIND = "behind a value of another shape, so not from exact inputs"


@dataclass(frozen=True)
class Length:
    """A length that is not the oracle's."""

    made: int
    true: int

    def explains(self, other: Length) -> bool:
        """Whether another wrong length is this one carried on: by as much, or in proportion, as strides make it.

        Padding to whole blocks adds less than one, and a stride rounds by less than one: together less than two.
        """
        same = self.made - self.true == other.made - other.true
        return same or abs(other.made * self.true - other.true * self.made) < 2 * self.true


class Lengths:
    """What became of lengths so far; to be asked step after step.

    Args:
        oracle: its run.
        runs: the candidate's.
    """

    def __init__(self, oracle: Trace, runs: Sequence[Trace]) -> None:
        self._oracle, self._runs = oracle, runs
        self._found: set[Length] = set()
        self._phase = ""
        self._sequence = frozenset(oracle.contract.axes.sequence)
        self._diverged = False
        self._doubtful = frozenset(_doubtful(oracle, runs))

    def attributed(self, verdict: StepVerdict) -> StepVerdict:
        """The verdict; inherited where the step's shape, its inputs or the cache behind it follow from earlier ones."""
        inherited = verdict.status.origin and self._inherited(verdict)
        self._diverged = self._diverged or verdict.status.diverged
        return replace(verdict, status=Status.INHERITED, note=verdict.note or BEHIND) if inherited else verdict

    def _inherited(self, verdict: StepVerdict) -> bool:
        if self._phase not in ("", verdict.phase):
            return True
        if verdict.status is Status.CONTRACT:
            return self._carried(verdict.key)
        if verdict.lockstep is None:  # a free run alone: values that are not finite spread
            return self._diverged
        return verdict.key in self._doubtful

    def _carried(self, key: Key) -> bool:
        """Whether all wrong lengths of a step follow from earlier ones; notes those that do not."""
        wrong = _wrong(key, self._oracle, self._runs)
        carried = bool(wrong) and all(self._explained(axis, length, key.phase) for axis, length in wrong.items())
        self._found |= set(wrong.values())
        if wrong.keys() & self._sequence:  # leaves another cache to the next phase
            self._phase = key.phase
        return carried

    def _explained(self, axis: str, length: Length, phase: str) -> bool:
        """Whether an earlier length explains it; where other tokens are read, also keys, which a new start has lost."""
        return (self._phase == phase and axis in self._sequence) or any(one.explains(length) for one in self._found)


def _wrong(key: Key, oracle: Trace, runs: Sequence[Trace]) -> dict[str, Length]:
    """The lengths of axes that are not the oracle's; empty where there are more or fewer axes, or names of axes."""
    true = oracle.records[key]
    shapes = [run.records[key].shape for run in runs if key in run.records]
    known = [shape for shape in shapes if len(shape) == len(true.shape) == len(true.axes)]
    pairs = (zip(true.axes, shape, true.shape, strict=True) for shape in known)
    return {axis: Length(made, wanted) for each in pairs for axis, made, wanted in each if made != wanted}


def _doubtful(oracle: Trace, runs: Sequence[Trace]) -> Iterator[Key]:
    """Steps of the right shape that may be computed from a value of a wrong one, which lockstep could not replace.

    Which step reads which value is not known. All that stand between two wrong shapes of a phase may; behind the last
    the next of each kind: its own value is replaced, and from there on inputs are exact. Steps without any of the
    places of the wrong values (a table of frequencies) are none of them.
    """
    for phase in dict.fromkeys(key.phase for key in oracle.records):
        keys = [key for key in oracle.records if key.phase == phase]
        wrong = {key: lengths for key in keys if (lengths := _wrong(key, oracle, runs))}
        last = list(wrong)[-1] if wrong else None
        places: set[str] = set()
        following: set[str] | None = None
        for key in keys:
            record = oracle.records[key]
            if key in wrong:
                places |= _places(record, wrong[key])
                following = set() if key == last else None
            elif places.intersection(record.axes) and (following is None or kind_of(record.dtype) not in following):
                yield key
                if following is not None:
                    following.add(kind_of(record.dtype))


def _places(record: Record, wrong: dict[str, Length]) -> set[str]:
    """The axes of a step up to its last wrong one: those before it say whose length it is."""
    end = max(index for index, axis in enumerate(record.axes) if axis in wrong)
    return set(record.axes[: end + 1])
