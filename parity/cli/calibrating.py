"""The command that judges right candidates on drawn inputs, to know how often right code is accused: calibrate."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.comparing import loadable
from parity.cli.options import Candidates, Dtypes, Model, Page, Reference, names
from parity.errors import ExitCode

if TYPE_CHECKING:
    from parity.calibration.running import CalibrationRequest
    from parity.calibration.summary import Summary

RIGHT = "mlx,ane,ane@batch=16,mlx-lm@patch=all,mlx-vlm@patch=all,transformers,transformers@variant=attention-fused"
RIGHT_IN = "float32,bfloat16,float16-ane"

Judgements = Annotated[int, typer.Option("--judgements", envvar="PARITY_JUDGEMENTS", min=1, help="How many at least.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the draws: the same seed draws the same inputs.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Draws judged at the same time, on a core each.")]
Output = Annotated[
    Path,
    typer.Option("--results", metavar="FILE", help="A line a judgement; a second start goes on behind them."),
]
Scores = Annotated[
    list[Path] | None,
    typer.Option(
        "--score", metavar="FILE", help="What `variants score --json` printed, for what K misses; repeatable."
    ),
]
Single = Annotated[int | None, typer.Option("--draw", metavar="N", min=0, help="Judge this draw alone, and print it.")]


def calibrate(
    *,
    model: Model = None,
    reference: Reference = None,
    candidates: Candidates = RIGHT,
    dtype: Dtypes = RIGHT_IN,
    judgements: Judgements = 3000,
    seed: Seed = 1,
    workers: Workers = 2,
    results: Output = Path("reports/calibration.jsonl"),
    score: Scores = None,
    markdown: Page = None,
    draw: Single = None,
) -> int:
    """Judge candidates that are right on drawn inputs: how often is right code accused? Exit 1 where any was."""
    from parity.calibration.misses import read_misses
    from parity.calibration.running import CalibrationRequest, require_known
    from parity.report.calibration_plot import require_plot

    checkpoint, true = loadable(model, reference)
    backends, dtypes = names(candidates, "--candidates"), names(dtype, "--dtype")
    request = CalibrationRequest(
        checkpoint=checkpoint,
        candidates=backends,
        dtypes=dtypes,
        judgements=judgements,
        seed=seed,
        workers=workers,
        reference=true,
    )
    require_known(request, draw)
    if draw is not None:
        return _single(request, draw)
    misses = read_misses(score or ())
    if markdown:
        require_plot()  # before the long work starts
    summary = _run(request, results)
    if markdown:
        from parity.report.calibration_page import write

        write(summary, misses, _command(request, results, score or (), markdown), markdown)
    return _print(summary, request)


def _run(request: CalibrationRequest, file: Path) -> Summary:
    from parity.calibration.result import Results
    from parity.calibration.running import calibrate as run
    from parity.calibration.summary import Summary
    from parity.report.json import prepare
    from parity.report.progress import TerminalProgress

    prepare(file.parent)
    results = Results.begin(file, request.head())
    with TerminalProgress() as progress:
        run(request, results, progress)
    return Summary(results.head, tuple(results.found))


def _single(request: CalibrationRequest, number: int) -> int:
    from parity.calibration.running import single
    from parity.report.calibration import line
    from parity.report.console import console, plain, print_line

    out, flagged = console(), False
    for result in single(request, number):
        print_line(out, plain(line(result)))
        flagged |= result.flagged
    return ExitCode.DIVERGED if flagged else ExitCode.PARITY


def _print(summary: Summary, request: CalibrationRequest) -> int:
    from parity.report.calibration import print_summary
    from parity.report.console import console

    print_summary(summary, console())
    return ExitCode.DIVERGED if summary.whole.flagged else ExitCode.PARITY


def _command(request: CalibrationRequest, results: Path, scores: Sequence[Path], page: Path) -> str:
    """What wrote the page, with its options only where they are not the usual."""
    options = [("--judgements", str(request.judgements)), ("--seed", str(request.seed))]
    if (asked := ",".join(request.candidates)) != RIGHT:
        options += [("--candidates", asked)]
    if (asked := ",".join(request.dtypes)) != RIGHT_IN:
        options += [("--dtype", asked)]
    options += [("--score", str(score)) for score in scores] + [("--markdown", str(page))]
    return shlex.join(["parity", "calibrate", *(word for option in options for word in option)])
