"""What the judge says of a candidate, and of all candidates of a comparison."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from parity.contract import Contract
from parity.errors import ExitCode
from parity.judging.cause import Diagnosis
from parity.judging.verdict import Status, StepVerdict, TokenVerdict
from parity.traces.measured import MODES
from parity.traces.trace import Key, Manifest, Mode

NAMED = 3
"""Missing steps that are named."""


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
        returned: phases in which the candidate returned other logits than it emitted, and how they differ; what was
            judged is then not what its users get.
        values: of the oracle's that the candidate's were compared with, padding left out.
        unsearched: the error that ended the search for causes; empty where it came to its end.
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
    returned: tuple[tuple[str, str], ...] = ()
    values: int = 0
    unsearched: str = ""

    @classmethod
    def of_crash(cls, crash: str, *, candidate: str, dtype: str, scenario: str = "", allowed: float = 0.0) -> Self:
        """The judgement on a candidate that ended before anything could be judged; `crash` says how."""
        return cls(candidate, dtype, scenario, steps=(), tokens=(), allowed=allowed, crash=crash)

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
        runs = {mode for step in self.steps for mode in MODES if getattr(step, mode)}
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

    @property
    def why(self) -> str:
        """What is wrong, in words that a ratio has not: a crash, a shape, a token, what is missing; empty at parity."""
        if self.crash:
            return self.crash
        if first := self.first_divergence:
            return f"{first.step} ({first.phase}) is {first.status}{f': {first.note}' if first.note else ''}"
        if token := next((token for token in self.tokens if token.diverged), None):
            return f"token {token.token} of row {token.row} ({token.phase}) is {token.candidate}, not {token.oracle}"
        if not self.missing:
            return ""
        names = [*dict.fromkeys(step.step for step in self.missing)]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return f"{', '.join(names[:NAMED])}{more} {'is' if len(names) == 1 else 'are'} {self.missing[0].status}"

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
        if wrong or self.unsteady or self.returned:
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
