"""Commands about goldens: check a candidate against them, make them anew."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import Json, Report, names, one_name
from parity.errors import ExitCode

if TYPE_CHECKING:
    from parity.judging.judgement import Comparison

Only = Annotated[str, typer.Option("--only", metavar="NAME[,NAME]", help="These goldens alone (default: all).")]
Set = Annotated[str, typer.Option("--set", metavar="NAME|module:function", help="Which set of goldens.")]

golden = typer.Typer(no_args_is_help=True, help="Judge a candidate where the reference is not installed.")


@golden.command()
def check(
    *,
    backend: Annotated[
        str, typer.Option("--backend", envvar="PARITY_BACKEND", metavar="NAME", help="Who is judged.")
    ] = "mlx",
    dtype: Annotated[
        str, typer.Option("--dtype", envvar="PARITY_DTYPE", metavar="NAME", help="Its arithmetic.")
    ] = "float32",
    only: Only = "",
    which: Set = "tiny",
    report: Report = None,
    as_json: Json = False,
) -> int:
    """Judge a backend's free run in each golden's scenario; the reference need not be installed."""
    from parity.golden.checking import check as run
    from parity.golden.sets import find_set
    from parity.report.detail import Report as Rendered
    from parity.report.html import require_templates
    from parity.report.json import prepare
    from parity.report.progress import TerminalProgress
    from parity.reports import write_report

    if report:
        require_templates()
        prepare(report)
    chosen, arithmetic = names(only, "--only") if only else (), one_name(dtype, "--dtype")
    golden_set = find_set(which)
    with TerminalProgress() as progress:
        comparison = run(golden_set, one_name(backend, "--backend"), arithmetic, only=chosen, progress=progress)
    if report:
        write_report(Rendered(comparison), report)
    _print_check(comparison, as_json=as_json)
    return comparison.exit_code


@golden.command()
def update(
    *,
    only: Only = "",
    which: Set = "tiny",
    allow_ci: Annotated[bool, typer.Option("--allow-ci", help="Even where the variable CI is set.")] = False,
) -> int:
    """Make goldens anew with the reference, and say what changed."""
    from parity.golden.sets import find_set
    from parity.golden.updating import require_leave
    from parity.golden.updating import update as run
    from parity.report.console import console
    from parity.report.goldens import print_update
    from parity.report.progress import TerminalProgress

    chosen = names(only, "--only") if only else ()
    require_leave(allow_ci=allow_ci)
    with TerminalProgress() as progress:
        done = run(find_set(which), only=chosen, allow_ci=allow_ci, progress=progress)
    print_update(done, console())
    return ExitCode.PARITY


def _print_check(comparison: Comparison, *, as_json: bool) -> None:
    from parity.report.console import console, plain, print_line
    from parity.report.goldens import ESTIMATED
    from parity.report.json import dumps
    from parity.report.terminal import print_comparison

    if as_json:
        sys.stdout.write(dumps(comparison))
        return
    out = console()
    print_comparison(comparison, out)
    print_line(out, f"golden     {ESTIMATED}")
    if following := next_command(comparison):
        print_line(out, f"next       {plain(following)}")


def next_command(comparison: Comparison) -> str:
    """What to type next where a step diverged: the comparison that has a lockstep run."""
    for judgement in comparison.judgements:
        if judgement.first_divergence:
            who = f"--candidates {shlex.quote(judgement.candidate)} --dtype {judgement.dtype}"
            return f"parity compare {who} --scenario {judgement.scenario.rpartition('.')[2]}"
    return ""
