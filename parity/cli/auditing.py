"""The command that judges an installed package, and what is known to be wrong in it: audit."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.comparing import loadable, scenarios_of
from parity.cli.options import Dtypes, Json, Model, Page, Reference, Scenarios, names

if TYPE_CHECKING:
    from parity.audit.result import Audits
    from parity.audit.running import AuditRequest

Packages = Annotated[list[str], typer.Argument(metavar="PACKAGE...", help="Backends that declare faults, e.g. mlx-lm.")]
Only = Annotated[str, typer.Option("--only", metavar="GLOB", help="Measure faults of such names alone.")]
Kept = Annotated[
    Path | None, typer.Option("--results", metavar="FILE", help="A line a run; a second start goes on behind them.")
]


def audit(
    packages: Packages,
    *,
    model: Model = None,
    reference: Reference = None,
    dtype: Dtypes = "float32",
    scenario: Scenarios = "all",
    only: Only = "*",
    results: Kept = None,
    markdown: Page = None,
    as_json: Json = False,
) -> int:
    """Judge installed packages as they are, and each of their known faults alone; exit 1 where more is found."""
    from parity.audit.running import AuditRequest
    from parity.audit.running import audit as run
    from parity.report.audit_page import markdown as page_of
    from parity.report.json import write_whole
    from parity.report.progress import TerminalProgress
    from parity.variant import find_variants

    checkpoint, true = loadable(model, reference)
    dtypes, scenarios = names(dtype, "--dtype"), scenarios_of(scenario, (), true)
    request = AuditRequest(tuple(dict.fromkeys(packages)), checkpoint, dtypes, scenarios, only, results)
    with TerminalProgress() as progress:
        audits = run(request, find_variants(true), progress)
    if markdown:
        before = markdown.read_text(encoding="utf-8") if markdown.is_file() else ""
        write_whole(markdown, page_of(audits, _command(request, model, reference, scenario, markdown), before))
    _print(audits, as_json=as_json)
    return audits.exit_code


def _command(request: AuditRequest, model: str | None, reference: str | None, scenario: str, page: Path) -> str:
    """What wrote the page, with its options only where they are not the usual."""
    options = {"--model": model, "--reference": reference, "--dtype": ",".join(request.dtypes), "--markdown": str(page)}
    options |= {"--scenario": "" if scenario == "all" else scenario, "--only": request.only.removesuffix("*")}
    given = [word for option, value in options.items() if value for word in (option, value)]
    return shlex.join(["parity", "audit", *request.packages, *given])


def _print(audits: Audits, *, as_json: bool) -> None:
    from parity.report.audit import as_json as plain_data
    from parity.report.audit import print_audits
    from parity.report.console import console

    if as_json:
        sys.stdout.write(json.dumps(plain_data(audits), indent=1) + "\n")
    else:
        print_audits(audits, console())
