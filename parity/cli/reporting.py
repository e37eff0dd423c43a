"""The command that renders: report. It starts without any framework."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.traces import Recorded, kept_recorded, recorded
from parity.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from parity.report.detail import Report
    from parity.report.gather import Gatherer

REPORTS = Path("reports")


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRACE...|COMPARISON",
            help="A report.json or its folder; a folder that compare --keep left; or the oracle's trace and others.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Where to (default: reports, or beside report.json).")
    ] = None,
    baseline: Annotated[
        list[Path] | None,
        typer.Option("--baseline", metavar="TRACE", help="Trace of the reference in the candidate's dtype; repeat it."),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", metavar="DIR", help="Checkpoint whose tokenizer.json names the tokens."),
    ] = None,
) -> int:
    """Render index.html, report.md, report.json and Model Explorer overlays of a comparison, or of traces on disk."""
    from parity.report.console import plain
    from parity.report.html import require_templates
    from parity.reports import write_report

    require_templates()
    folder, made = _report(paths, baseline or [], tokenizer)
    print(plain(write_report(made, output or folder)))
    return ExitCode.PARITY


def _report(paths: Sequence[Path], baselines: Sequence[Path], tokenizer: Path | None) -> tuple[Path, Report]:
    """The report that is meant, and where it goes unless the user says."""
    from parity.report.json import FILE, read_report

    only = paths[0] if len(paths) == 1 else None
    if only is not None and (not only.is_dir() or os.path.lexists(only / FILE)):
        return (only if only.is_dir() else only.parent), read_report(only)
    return REPORTS, _judged(kept_recorded(only) if only is not None else _given(paths, baselines), _gatherer(tokenizer))


def _given(paths: Sequence[Path], baselines: Iterable[Path]) -> Iterator[Recorded]:
    """Single traces: the oracle's is the one with a contract beside it, wherever it stands."""
    oracles = [path for path in paths if (path / "contract.json").is_file()]
    if len(oracles) != 1:
        raise UsageError(f"{len(oracles)} of these traces are an oracle's; give one, and the candidates'")
    return recorded(oracles[0], [path for path in paths if path != oracles[0]], baselines)


def _gatherer(tokenizer: Path | None) -> Gatherer:
    from parity.report.gather import Gatherer
    from parity.report.vocabulary import read_vocabulary

    return Gatherer(lambda: read_vocabulary(tokenizer) if tokenizer else {})


def _judged(found: Iterable[Recorded], gatherer: Gatherer) -> Report:
    """Judge each case, and look at it while its traces are open."""
    from parity.judging.judge import judge
    from parity.judging.judgement import Comparison

    judgements, last = [], None
    for last in found:
        judgement = judge(oracle=last.oracle, baseline=last.baseline, candidate=last.candidate, name=last.name)
        gatherer.look(judgement, oracle=last.oracle, baseline=last.baseline, candidate=last.candidate)
        judgements.append(judgement)
    if last is None:
        raise UsageError("no candidate's trace among these; give at least one")
    return gatherer.report(Comparison(last.oracle.contract, last.oracle.manifest, tuple(judgements)))
