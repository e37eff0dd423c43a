"""The command that judges every architecture which two packages have: survey."""

from __future__ import annotations

import shlex
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import Dtypes, Page, Standard, names, one_name
from parity.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from parity.survey.result import SurveyResults
    from parity.survey.running import SurveyRequest

USUAL = "float32,bfloat16"

Port = Annotated[str, typer.Argument(metavar="PACKAGE", help="A backend for any model, e.g. mlx-lm.")]
Only = Annotated[str, typer.Option("--only", metavar="GLOB", help="Types of model of such names alone.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Architectures at the same time.")]
Limit = Annotated[float, typer.Option("--limit", min=1, help="Seconds that an architecture may take.")]
Output = Annotated[
    Path,
    typer.Option("--results", metavar="FILE", help="A line an architecture; a second start goes on behind them."),
]


def survey(
    package: Port,
    *,
    reference: Standard = None,
    dtype: Dtypes = USUAL,
    only: Only = "*",
    workers: Workers = 1,
    limit: Limit = 600,
    results: Output = Path("reports/survey.jsonl"),
    markdown: Page = None,
) -> int:
    """Draw, learn and judge every architecture that a package and the reference have; exit 1 where any diverged."""
    from parity.discovery import REFERENCES, usual_for_any_model
    from parity.report.json import prepare, write_whole
    from parity.report.progress import TerminalProgress
    from parity.report.survey_page import markdown as page_of
    from parity.survey.examining import Examination
    from parity.survey.result import SurveyResults
    from parity.survey.running import SurveyRequest
    from parity.survey.running import survey as run

    port = one_name(package, "PACKAGE")
    true = one_name(reference or usual_for_any_model(REFERENCES), "--reference")
    request = SurveyRequest(Examination(true, port, names(dtype, "--dtype")), workers, limit)
    head = request.head()
    prepare(results.parent)
    kept = SurveyResults.begin(results, head)
    with TerminalProgress() as progress:
        models = request.models(progress)
        wanted = [model for model in models if fnmatchcase(model, only)]
        if not wanted:
            raise UsageError(f"no type of model that both {true} and {port} have is like {only!r}")
        run(request, wanted, kept, progress)
    if markdown:
        write_whole(markdown, page_of(kept, models, _command(request, markdown), request.meanings()))
    return _print(kept)


def _command(request: SurveyRequest, page: Path) -> str:
    """What wrote the page, with its options only where they are not the usual."""
    options = ["--reference", request.by.reference]
    if (asked := ",".join(request.by.dtypes)) != USUAL:
        options += ["--dtype", asked]
    return shlex.join(["parity", "survey", request.by.candidate, *options, "--markdown", str(page)])


def _print(results: SurveyResults) -> int:
    from parity.report.console import console, plain, print_line
    from parity.report.survey import outcome, totals
    from parity.report.table import Table

    out, table = console(), Table("model", "outcome", "rows", "s", right=("rows", "s"))
    for model, one in results.by_model.items():
        table.add(plain(model), plain(outcome(one)), str(one.rows), f"{one.seconds:.0f}")
    table.print(out)
    for line in totals(results):
        print_line(out, plain(line))
    return ExitCode.DIVERGED if any(one.diverged for one in results.found) else ExitCode.PARITY
