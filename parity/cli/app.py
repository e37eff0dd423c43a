"""The `parity` command and its subcommands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from parity.cli import (
    auditing,
    calibrating,
    comparing,
    costing,
    generating,
    learning,
    reading,
    reporting,
    running,
    serving,
    stepping,
    surveying,
    watching,
)
from parity.cli.caching import cache
from parity.cli.golden import golden
from parity.cli.plugins import Commands
from parity.cli.variants import variants

DISTRIBUTION = "gemma3n-parity"

app = typer.Typer(
    name="parity",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 parity, 1 diverged, 2 usage or internal error, 3 backend unavailable or crashed, "
    "4 stale trace or golden, 5 incomplete.",
)
BUILT_IN: tuple[Callable[..., int], ...] = (
    comparing.compare,
    costing.cost,
    learning.learn,
    watching.watch,
    auditing.audit,
    calibrating.calibrate,
    surveying.survey,
    reading.diff,
    reporting.report,
    reading.show,
    stepping.steps,
    running.trace,
    generating.generate,
    serving.serve,
    running.doctor,
)
for command in BUILT_IN:
    app.command()(command)
app.add_typer(cache, name="cache")
app.add_typer(golden, name="golden")
app.add_typer(variants, name="variants")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"parity {version(DISTRIBUTION)}")
        except PackageNotFoundError:
            print("parity, not installed: run from its source")
        raise typer.Exit


@app.callback()
def parity(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Does this port compute what the reference computes, and if not, where does it first go wrong and why?"""
