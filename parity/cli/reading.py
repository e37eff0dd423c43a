"""Commands that read: diff, show. They start without any framework."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from parity.cli.options import Json
from parity.cli.traces import recorded, require_candidates
from parity.errors import ExitCode, UsageError


def diff(
    oracle: Annotated[Path, typer.Argument(metavar="ORACLE", help="Trace of the oracle, with its contract.")],
    candidates: Annotated[
        list[Path], typer.Argument(metavar="CANDIDATE...", help="Free and lockstep traces of candidates.")
    ],
    baseline: Annotated[
        list[Path] | None,
        typer.Option("--baseline", metavar="TRACE", help="Trace of the reference in the candidate's dtype; repeat it."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Judge traces on disk. Where there is no baseline in a run's mode, the report says that no floor was measured."""
    from parity.judging.judge import judge
    from parity.judging.judgement import Comparison
    from parity.report.console import console
    from parity.report.json import dumps
    from parity.report.terminal import print_comparison
    from parity.traces.trace import Trace

    true = Trace.read(oracle)
    contract = true.contract
    require_candidates(true, candidates)
    found = recorded(oracle, candidates, baseline or [])
    judgements = [judge(oracle=one.oracle, baseline=one.baseline, candidate=one.candidate) for one in found]
    comparison = Comparison(contract, true.manifest, tuple(judgements))
    if as_json:
        sys.stdout.write(dumps(comparison))
    else:
        print_comparison(comparison, console())
    return comparison.exit_code


def show(
    trace: Annotated[Path, typer.Argument(metavar="TRACE")],
    step: Annotated[str, typer.Option("--step", metavar="GLOB", help="Steps to show, e.g. 'text.layers.0.*'.")] = "*",
    phase: Annotated[str, typer.Option("--phase", metavar="GLOB", help="Phases to show, e.g. prefill.")] = "*",
) -> int:
    """Show what a trace says of its steps; of a single one, everything."""
    from parity.report.console import console
    from parity.report.records import print_records
    from parity.traces.trace import Trace

    records = Trace.read(trace).records.values()
    found = [record for record in records if fnmatchcase(record.step, step) and fnmatchcase(record.phase, phase)]
    if not found:
        phases = ", ".join(dict.fromkeys(record.phase for record in records))
        raise UsageError(f"trace {trace} has no step {step!r} in phase {phase!r}; its phases: {phases or 'none'}")
    print_records(found, console())
    return ExitCode.PARITY
