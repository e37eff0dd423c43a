"""What an audit found, as lines of a file that grows while it runs: one that was interrupted goes on behind them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from parity.audit.effect import Effect
from parity.audit.outcome import Component, Outcome
from parity.audit.trial import Trial
from parity.errors import ExitCode
from parity.judging.cause import Diagnosis
from parity.judging.verdict import StepVerdict
from parity.results_file import ResultsFile, ResultsLine

FORMAT = "parity-audit"
AUDIT_VERSION = 1
KEPT = tuple(field.name for field in fields(Outcome) if field.name not in ("trial", "dtype"))
"""What of an outcome neither the plan nor the line's key says."""


class AuditHead(ResultsLine):
    """What the results of a file are of.

    Attributes:
        packages: of each what it and its libraries are, and a digest of all that is declared of it.
        weights: of the checkpoint, by their content.
        allowed: floors.
    """

    format: str = FORMAT
    version: int = AUDIT_VERSION
    packages: dict[str, tuple[str, ...]]
    reference: str
    model: str
    weights: str
    prompt: str
    samples: str
    allowed: float


class AuditedTrial(ResultsLine):
    """What became of one trial in one arithmetic: an `Outcome`, whose trial is one of the plan's.

    Attributes:
        trial: which, see `key_of`.
        seconds: since the result before it.
    """

    trial: str
    dtype: str
    seconds: float
    verdict: ExitCode
    message: str
    crashed: bool
    first: StepVerdict | None
    introduced: tuple[str, ...]
    parts: tuple[Component, ...]
    hidden: int
    unexpected: int
    uncovered: int
    worst: float
    effect: Effect | None
    diagnoses: tuple[Diagnosis, ...]

    @classmethod
    def of(cls, outcome: Outcome, seconds: float) -> AuditedTrial:
        """A line of an outcome."""
        found = {name: getattr(outcome, name) for name in KEPT}
        return cls(trial=key_of(outcome.trial), dtype=outcome.dtype, seconds=seconds, **found)

    def outcome(self, trial: Trial) -> Outcome:
        """The outcome, of that trial."""
        return Outcome(trial, self.dtype, **{name: getattr(self, name) for name in KEPT})


class AuditResults(ResultsFile[AuditHead, AuditedTrial]):
    """The results of one audit."""

    what = "an audit"
    heads, lines = AuditHead, AuditedTrial

    def outcomes(self, trials: Iterable[Trial], dtype: str) -> dict[str, Outcome]:
        """What became of those of some trials that were run already, by their keys."""
        found = {line.trial: line for line in self.found if line.dtype == dtype}
        keys = {key_of(trial): trial for trial in trials}
        return {key: found[key].outcome(trial) for key, trial in keys.items() if key in found}


def key_of(trial: Trial) -> str:
    """What tells a trial from the others of an audit."""
    alone = trial.fault.name if trial.fault else ""
    media = "+".join(trial.inputs.media)
    return " ".join((trial.candidate, trial.mended or "as installed", alone, trial.inputs.scenario, media)).strip()
