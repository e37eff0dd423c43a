"""What an audit found, package by package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from parity.audit.outcome import Outcome
from parity.errors import ExitCode
from parity.fault import Fault, Inputs, Subject


@dataclass(frozen=True)
class Audit:
    """One package in every arithmetic.

    Attributes:
        versions: of the package, then of the libraries that it computes with.
        places: of each fault in the installed source, by its name, each ``file:line``.
    """

    package: str
    versions: tuple[tuple[str, str], ...]
    subject: Subject
    places: Mapping[str, tuple[str, ...]]
    outcomes: tuple[Outcome, ...]

    @property
    def name(self) -> str:
        """The package with its version, and those of what it computes with."""
        (_, own), *others = self.versions
        return f"{self.package} {own} ({', '.join(f'{name} {number}' for name, number in others)})"

    def alone(self, fault: Fault) -> tuple[Outcome, ...]:
        """A fault, all others mended, in each arithmetic."""
        return tuple(outcome for outcome in self.outcomes if outcome.trial.fault == fault)

    def find(self, inputs: Inputs, dtype: str, mended: str) -> Outcome | None:
        """What became of the package with these faults mended; None where that was not run."""
        wanted = (inputs.given, dtype, mended)
        found = ((each, (each.trial.inputs.given, each.dtype, each.trial.mended)) for each in self.outcomes)
        return next((each for each, run in found if run == wanted), None)

    @property
    def unexplained(self) -> tuple[Outcome, ...]:
        """What the declared faults do not explain."""
        return tuple(outcome for outcome in self.outcomes if outcome.unexplained)


@dataclass(frozen=True)
class Audits:
    """All packages that one command audited.

    Attributes:
        model: the checkpoint's name.
        prompt: the text of every scenario.
        reference: the backend that they are held to.
        samples: name of the folder that the media are in.
        seconds: that it took.
        machine: what it ran on.
    """

    audits: tuple[Audit, ...]
    model: str
    prompt: str
    reference: str
    samples: str
    seconds: float
    machine: str

    @property
    def runs(self) -> int:
        """How many runs there were: a free one and one in lockstep of each candidate that could run."""
        return sum(2 for audit in self.audits for outcome in audit.outcomes if not outcome.message)

    @property
    def exit_code(self) -> ExitCode:
        """1 where something is left unexplained, or nothing was run."""
        whole = all(audit.outcomes and not audit.unexplained for audit in self.audits)
        return ExitCode.PARITY if whole else ExitCode.DIVERGED
