"""The runs of one party in one scenario."""

from __future__ import annotations

from dataclasses import dataclass

from parity.traces.measured import Execution
from parity.traces.trace import Mode, Trace


@dataclass(frozen=True)
class Runs:
    """A party's free run and its lockstep run; a trace written elsewhere may have one of them only.

    Attributes:
        executions: what a baseline errs in further executions that are as right.
        plain: what it errs where it adds one term after the other; None where that was not asked for.
    """

    free: Trace | None
    lockstep: Trace | None
    executions: tuple[Execution, ...] = ()
    plain: Execution | None = None

    @property
    def present(self) -> tuple[Trace, ...]:
        """The runs that there are."""
        return tuple(run for run in (self.free, self.lockstep) if run is not None)

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes of the runs that there are."""
        return tuple(run.manifest.mode for run in self.present)
