"""Commands that read: diff, show. They start without any framework."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import Json
from parity.cli.traces import floors_of_dump, recorded, require_candidates
from parity.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from parity.traces.trace import Trace


def diff(
    oracle: Annotated[Path, typer.Argument(metavar="ORACLE", help="Trace of the oracle, with its contract.")],
    candidates: Annotated[
        list[Path],
        typer.Argument(
            metavar="CANDIDATE...",
            help="Free and lockstep traces of candidates; or one dump: .npy, .npz, .pt, .safetensors, or a folder.",
        ),
    ],
    baseline: Annotated[
        list[Path] | None,
        typer.Option("--baseline", metavar="TRACE", help="Trace of the reference in the candidate's dtype; repeat it."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Judge traces on disk, or pair another tool's dump with the oracle's steps by content.

    Where there is no baseline in a run's mode, the report says that no floor was measured.
    """
    from parity.dumps.files import is_dump
    from parity.judging.judge import judge
    from parity.judging.judgement import Comparison
    from parity.report.console import console
    from parity.report.json import dumps
    from parity.report.terminal import print_comparison
    from parity.traces.trace import Trace

    true = Trace.read(oracle)
    if any(map(is_dump, candidates)):
        return _diff_dump(true, candidates, baseline or [], as_json=as_json)
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


def _diff_dump(oracle: Trace, candidates: Sequence[Path], baselines: Sequence[Path], *, as_json: bool) -> int:
    """Pair a dump, whose tensors have names of their own."""
    from parity.dumps.files import tensors_of_dump
    from parity.dumps.matching import match
    from parity.report.console import console
    from parity.report.dump import dump_json, exit_code_of, print_matched

    if len(candidates) > 1 or len(baselines) > 1:
        raise UsageError("a dump is compared by itself, with one --baseline: give them one after the other")
    found = match(oracle, tensors_of_dump(candidates[0]), floors_of_dump(oracle, baselines))
    if as_json:
        sys.stdout.write(dump_json(found))
    else:
        print_matched(found, candidates[0], console())
    return exit_code_of(found)


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
