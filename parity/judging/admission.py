"""What may be a baseline: of traces that a user gives, for a wrong one lets whoever is wrong alike pass."""

from __future__ import annotations

from parity.errors import UsageError
from parity.judging.floors import floors_of, plausible
from parity.judging.judge import require_dtype_of, require_same
from parity.traces.runs import Runs
from parity.traces.trace import Trace


def require_baseline(*, oracle: Trace, baseline: Runs, candidate: Runs) -> None:
    """Refuse what is not the reference in the candidate's arithmetic, or errs as no correct arithmetic does.

    Raises:
        UsageError: naming the trace, and what it should be.
    """
    for run in baseline.present:
        require_same(oracle=oracle, other=run)
        require_dtype_of(candidate, run)
        if run.manifest.backend != oracle.manifest.backend:
            raise UsageError(
                f"trace {run.path} is of {run.manifest.backend}, and a floor is what the reference errs; give as "
                f"--baseline a trace of {oracle.manifest.backend} in {run.manifest.dtype}"
            )
    _require_plausible(oracle, baseline)


def _require_plausible(oracle: Trace, baseline: Runs) -> None:
    paths = {run.manifest.mode: run.path for run in baseline.present}
    for mode, key, floor in floors_of(oracle, baseline).measured():
        step = oracle.contract.get(key.step)
        if step is None or step.kind != "float":
            continue
        arithmetic = step.arithmetic or baseline.present[0].manifest.dtype
        if not floor.relative <= plausible(arithmetic):
            raise UsageError(
                f"trace {paths.get(mode, oracle.path.parent)} is no baseline: it errs {floor.relative:.1e} at "
                f"{key.step} ({key.phase}), and correct {arithmetic} at most {plausible(arithmetic):.1e}; write it anew"
            )
