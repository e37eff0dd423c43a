"""What the judge says: of a step, of a token, of a candidate, of a comparison."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from parity.axes import Look, Where
from parity.contract import Contract
from parity.errors import ExitCode
from parity.traces.trace import Key, Manifest, Mode


class Status(StrEnum):
    """Verdict on a step; see `MEANING`."""

    OK = "ok"
    COARSE = "coarse"
    INHERITED = "inherited"
    INTRODUCED = "introduced"
    NONFINITE = "nonfinite"
    CONTRACT = "contract"
    UNCOVERED = "uncovered"
    UNEXPECTED = "unexpected"
    HIDDEN = "hidden"

    @property
    def diverged(self) -> bool:
        """Whether the step's value is wrong."""
        return self in (Status.INHERITED, Status.INTRODUCED, Status.NONFINITE, Status.CONTRACT)

    @property
    def origin(self) -> bool:
        """Whether the fault is the step's own, not passed on."""
        return self in (Status.INTRODUCED, Status.NONFINITE, Status.CONTRACT)

    @property
    def incomplete(self) -> bool:
        """Whether the step was not compared, and ought to have been."""
        return self in (Status.UNCOVERED, Status.UNEXPECTED)

    @property
    def compared(self) -> bool:
        """Whether there is something to show of the step: it was held against the oracle's."""
        return not self.incomplete and self is not Status.HIDDEN


MEANING = {
    Status.OK: "within K floors in the free run and in lockstep",
    Status.COARSE: "beyond K floors, but no more than adding one term after the other costs in this arithmetic",
    Status.INHERITED: "passes on an earlier error: beyond K floors in the free run only, or of another shape for it; "
    "without a lockstep run it may err by itself",
    Status.INTRODUCED: "beyond K floors from exact inputs (or below, and proven by many values): the step itself errs",
    Status.NONFINITE: "NaN or infinity where the oracle has none, or none where it has",
    Status.CONTRACT: "wrong shape, axes or kind",
    Status.UNCOVERED: "in the contract, not emitted by the candidate",
    Status.UNEXPECTED: "emitted by the candidate, not in the contract (or emitted twice)",
    Status.HIDDEN: "not observable, as the candidate declares with a reason; not compared",
}


DECIDES = 1.01
"""A place sets the ratio where its own exceeds the tensor's by more than rounding."""


@dataclass(frozen=True)
class Worst:
    """The worst place, part or channel of a step in one kind of run.

    Attributes:
        look: which of these it is.
        where: names of axes, with an index along each.
        error: relative L2 there.
        floor: what that is held to.
        ratio: how many floors that is.
    """

    look: Look
    where: Where
    error: float
    floor: float
    ratio: float


@dataclass(frozen=True)
class Deviation:
    """Error of a step in one kind of run, against the floor of that run.

    Attributes:
        error: relative L2 of the tensor.
        floor: what it is held to: the baseline's (see `parity.judging.floors`), at least the dtype's unit roundoff; in
            the free run as many times that as the candidate's steps so far err from exact inputs.
        ratio: the largest of the tensor's and of each of the worst's errors over their floors. At most K is within.
        worst: place, part and channel, as far as they were looked at, the one that is most floors off first.
    """

    error: float
    floor: float
    ratio: float
    worst: tuple[Worst, ...] = ()

    @property
    def decides(self) -> Worst | None:
        """What the ratio is of; None for the whole tensor, and where that is off by as much, but for rounding."""
        first = self.worst[0] if self.worst else None
        if first is None or not math.isfinite(first.ratio):
            return None
        return first if first.ratio * self.floor > DECIDES * self.error else None

    def hides(self, allowed: float) -> float:
        """The largest fault, as `error` counts it, that an ok step may have; see `parity.variants.sensitivity`."""
        return allowed * self.floor


@dataclass(frozen=True)
class StepVerdict:
    """The judge's word on one step of one phase. `free` or `lockstep` is None where that run has no such record."""

    phase: str
    step: str
    occurrence: int
    status: Status
    free: Deviation | None = None
    lockstep: Deviation | None = None
    note: str = ""

    @property
    def key(self) -> Key:
        """Of its records in the traces."""
        return Key(self.phase, self.step, self.occurrence)

    def hides(self, allowed: float) -> float | None:
        """The largest fault of its own that may be in the step if it is ok; None where nothing was measured."""
        own = self.lockstep or self.free
        return None if own is None else own.hides(allowed)

    @property
    def ratio(self) -> float:
        """The worse of the two runs' ratios; NaN where nothing was measured."""
        ratios = [deviation.ratio for deviation in (self.free, self.lockstep) if deviation is not None]
        return max(ratios, default=float("nan"))


@dataclass(frozen=True)
class TokenVerdict:
    """Greedy choice at one position.

    Attributes:
        margin: the oracle's lead of its first over its second choice, in logits.
        noise: the largest margin that correct arithmetic can overturn here.
    """

    phase: str
    row: int
    token: int
    oracle: int
    candidate: int
    margin: float
    noise: float

    @property
    def same(self) -> bool:
        """Whether both chose the same id."""
        return self.oracle == self.candidate

    @property
    def near_tie(self) -> bool:
        """Whether the choice differs within the measured noise."""
        return not self.same and self.margin <= self.noise

    @property
    def diverged(self) -> bool:
        """Whether the choice differs beyond the noise."""
        return not self.same and self.margin > self.noise


@dataclass(frozen=True)
class Cause:
    """What a step's error is, or is like.

    Attributes:
        name: of the variant, or of the generic cause.
        meaning: one line.
        alpha: how many times what it would cause the error is, in least squares; 1 for a cause that is just that.
        explained: the share of the error's energy that is explained so (of several causes: by all together).
        variant: whether it is a known bug; else a generic cause.
        source: where the bug was seen.
        alike: further causes that would look the same.
    """

    name: str
    meaning: str
    alpha: float
    explained: float
    variant: bool
    source: str = ""
    alike: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """Why a step errs from exact inputs.

    Attributes:
        step: the first of `steps`.
        steps: those that are evidence, several of one family where one alone did not say it.
        phases: those that are evidence.
        values: number of values that the evidence is.
        noise: the share of the error's energy that correct arithmetic would have.
        causes: what is named with confidence; several where they add up. Nothing but noise is left without them.
        nearest: where nothing is named, what explains most.
        tried: how many known bugs of that step were tried.
        where: the places that hold the whole error; empty where it is everywhere.
        sigmas: of a bug below the noise of each step: how many standard deviations it is from none; else 0.
        rows: how many rows of values say so.
    """

    step: str
    steps: tuple[str, ...]
    phases: tuple[str, ...]
    values: int
    noise: float
    causes: tuple[Cause, ...] = ()
    nearest: tuple[Cause, ...] = ()
    tried: int = 0
    where: str = ""
    sigmas: float = 0.0
    rows: int = 0


@dataclass(frozen=True)
class Judgement:
    """One candidate in one scenario. Steps stand in execution order, phase after phase.

    Attributes:
        candidate: the name it was asked for by.
        allowed: K, how many floors an error may be.
        crash: where and why the candidate's worker ended; empty where it did not.
        unmeasured: modes of the candidate's runs in which there was no baseline; there the unit roundoff alone is the
            floor.
        unsteady: the first step at which the candidate's two runs differ though nothing before it does: it is not
            deterministic, and no floor holds for it.
        strict: whether a coarse step counts as a divergence.
        diagnoses: of introduced steps, in execution order.
    """

    candidate: str
    dtype: str
    scenario: str
    steps: tuple[StepVerdict, ...]
    tokens: tuple[TokenVerdict, ...]
    allowed: float
    crash: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    unmeasured: tuple[Mode, ...] = ()
    unsteady: Key | None = None
    strict: bool = False
    diagnoses: tuple[Diagnosis, ...] = ()

    def diagnosis(self, step: str) -> Diagnosis | None:
        """Why a step errs, where that was looked into."""
        return next((said for said in self.diagnoses if step in said.steps), None)

    @cached_property
    def counts(self) -> Counter[Status]:
        """Steps by status."""
        return Counter(step.status for step in self.steps)

    @cached_property
    def introduced(self) -> tuple[StepVerdict, ...]:
        """Steps whose fault is their own, in execution order."""
        return tuple(step for step in self.steps if step.status.origin)

    @property
    def first_divergence(self) -> StepVerdict | None:
        """The first introduced step, else the first that is beyond K floors at all; a coarse one where that counts."""
        wrong = self.introduced or tuple(step for step in self.steps if step.status.diverged)
        coarse = (step for step in self.steps if self.strict and step.status is Status.COARSE)
        return wrong[0] if wrong else next(coarse, None)

    @property
    def baseless(self) -> bool:
        """Whether no run of the candidate is held to a measured floor."""
        runs = {mode for step in self.steps for mode in ("free", "lockstep") if getattr(step, mode)}
        return bool(self.unmeasured) and runs <= set(self.unmeasured)

    @property
    def free_alone(self) -> bool:
        """Whether there was no lockstep run, which alone tells which step errs by itself."""
        measured = [step for step in self.steps if step.free or step.lockstep]
        return bool(measured) and all(step.lockstep is None for step in measured)

    @property
    def missing(self) -> tuple[StepVerdict, ...]:
        """Steps that were not compared."""
        return tuple(step for step in self.steps if step.status.incomplete)

    @cached_property
    def worst(self) -> StepVerdict | None:
        """The step furthest beyond its floor."""
        measured = [step for step in self.steps if step.ratio == step.ratio]
        return max(measured, key=lambda step: step.ratio, default=None)

    @property
    def exit_code(self) -> ExitCode:
        """Divergence outranks a gap: what is known to be wrong is said first."""
        if self.crash:
            return ExitCode.UNAVAILABLE
        wrong = any(step.status.diverged for step in self.steps) or any(token.diverged for token in self.tokens)
        if wrong or self.unsteady:
            return ExitCode.DIVERGED
        if self.strict and self.counts[Status.COARSE]:
            return ExitCode.DIVERGED
        return ExitCode.INCOMPLETE if self.missing or not self.steps else ExitCode.PARITY


@dataclass(frozen=True)
class Comparison:
    """Judgements of all candidates in all scenarios that one command ran, with the oracle's provenance."""

    contract: Contract
    oracle: Manifest
    judgements: tuple[Judgement, ...]
    prompt: str = ""

    @property
    def exit_code(self) -> ExitCode:
        """Crashed, diverged, incomplete, parity: the first that any judgement has."""
        codes = {judgement.exit_code for judgement in self.judgements}
        order = (ExitCode.UNAVAILABLE, ExitCode.DIVERGED, ExitCode.INCOMPLETE)
        return next((code for code in order if code in codes), ExitCode.PARITY if codes else ExitCode.INCOMPLETE)
