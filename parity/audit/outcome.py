"""What became of one candidate of an audit, and what of it is not explained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from parity.audit.effect import Effect
from parity.audit.trial import Trial
from parity.errors import ExitCode
from parity.fault import ALL, Fault, Kind
from parity.judging.cause import Diagnosis
from parity.judging.judgement import Judgement
from parity.judging.verdict import Status, StepVerdict


@dataclass(frozen=True)
class Component:
    """One component of the model in one trial: steps by name, in however many phases.

    Attributes:
        name: the first part of its steps' names.
        compared: number of its steps that were held against the oracle's.
        introduced: of them those whose fault is their own.
        worst: the largest ratio of those, else of all, in floors.
    """

    name: str
    compared: int
    introduced: int
    worst: float


@dataclass(frozen=True)
class Outcome:
    """What became of one trial; a step counts once, in however many phases.

    Attributes:
        verdict: of the judge; UNAVAILABLE where the candidate was refused or crashed.
        message: why there is no judgement; empty where there is one.
        crashed: whether its process ended or its runtime threw, where it might have refused in its own words.
        first: the first divergence.
        introduced: steps whose fault is their own, in execution order.
        hidden: how many are not observable.
        unexpected: how many ought not to be there.
        uncovered: how many are missing.
        worst: the largest ratio of the introduced steps, else of all, in floors.
        diagnoses: of the introduced steps, where they were asked for.
    """

    trial: Trial
    dtype: str
    verdict: ExitCode
    message: str = ""
    crashed: bool = False
    first: StepVerdict | None = None
    introduced: tuple[str, ...] = ()
    parts: tuple[Component, ...] = ()
    hidden: int = 0
    unexpected: int = 0
    uncovered: int = 0
    worst: float = float("nan")
    effect: Effect | None = None
    diagnoses: tuple[Diagnosis, ...] = ()

    @classmethod
    def of(cls, trial: Trial, judgement: Judgement, effect: Effect) -> Outcome:
        """Read the judgement on a candidate."""
        seen = {step.step for step in judgement.steps if step.status.compared}
        return cls(
            trial,
            judgement.dtype,
            judgement.exit_code,
            first=judgement.first_divergence,
            introduced=_names(judgement, *(status for status in Status if status.origin)),
            parts=tuple(_parts(judgement)),
            hidden=len({*_names(judgement, Status.HIDDEN)} - seen),
            unexpected=len(_names(judgement, Status.UNEXPECTED)),
            uncovered=len(_names(judgement, Status.UNCOVERED)),
            worst=_worst(judgement.steps),
            effect=effect,
            diagnoses=judgement.diagnoses,
        )

    @property
    def wrong(self) -> tuple[str, ...]:
        """The introduced steps; where there is none the first divergence."""
        return self.introduced or ((self.first.step,) if self.first else ())

    @property
    def refused(self) -> bool:
        """Whether the package refused, as is declared."""
        declared = self.trial.inputs.refused
        return bool(declared) and declared in self.message and not self.crashed

    @cached_property
    def unexplained(self) -> str:
        """What is left to explain, in a few words; empty where nothing is."""
        if self.message or self.trial.inputs.refused:
            return "" if self.refused else self.message or "was taken, though a refusal is declared"
        if self.trial.fault is not None:
            return self._astray(self.trial.fault)
        return "" if self.trial.mended != ALL else self._left

    @property
    def _left(self) -> str:
        if self.verdict is ExitCode.PARITY:
            return ""
        return f"all faults mended, first at {self.first.step}" if self.first else "all faults mended, incomplete"

    def _astray(self, fault: Fault) -> str:
        """What a fault alone does that its entry does not say."""
        if other := [step for step in self.wrong if not fault.explains(step)]:
            return f"{fault.name} alone is introduced at {other[0]}, which is none of its steps"
        if self.wrong:
            return (
                ""
                if fault.shows_in(self.dtype)
                else f"{fault.name} alone shows, though not in {self.dtype} as declared"
            )
        # another order of a sum is coarse at most, where the floors do not take it in
        shows = fault.shows_in(self.dtype) and fault.kind is not Kind.NUMERICS
        return f"{fault.name} alone shows nothing" if shows else self._left


def _names(judgement: Judgement, *statuses: Status) -> tuple[str, ...]:
    return tuple(dict.fromkeys(step.step for step in judgement.steps if step.status in statuses))


def _parts(judgement: Judgement) -> Iterator[Component]:
    compared = [step for step in judgement.steps if step.status.compared]
    for name in dict.fromkeys(step.step.partition(".")[0] for step in compared):
        steps = [step for step in compared if step.step.partition(".")[0] == name]
        own = {step.step for step in steps if step.status.origin}
        yield Component(name, len({step.step for step in steps}), len(own), _worst(steps))


def _worst(steps: Sequence[StepVerdict]) -> float:
    """The largest ratio of those whose fault is their own, else of all; NaN where none was measured."""
    own = [step for step in steps if step.status.origin] or steps
    return max((step.ratio for step in own if step.ratio == step.ratio), default=float("nan"))
