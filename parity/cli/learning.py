"""The command that learns a contract which nobody wrote: learn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parity.cli.options import Model, one_name
from parity.errors import ExitCode


def learn(
    *,
    model: Model = None,
    reference: Annotated[
        str, typer.Option("--reference", metavar="NAME", help="The side that is true.")
    ] = "transformers",
    candidate: Annotated[str, typer.Option("--candidate", metavar="NAME", help="The port.")] = "mlx-lm",
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="The table.")] = Path("parity-table.toml"),
) -> int:
    """Learn which value of a port is which of the reference, and write the table."""
    from parity.checkpoint import find_checkpoint
    from parity.learning.learn import learn as run
    from parity.learning.table import LearnedTable
    from parity.report.console import console
    from parity.report.learned import print_learned
    from parity.report.progress import TerminalProgress

    true, port = one_name(reference, "--reference"), one_name(candidate, "--candidate")
    before = LearnedTable.read(output) if output.exists() else None
    with TerminalProgress() as progress:
        found = run(find_checkpoint(model), reference=true, candidate=port, progress=progress, before=before)
    found.table.write(output)
    print_learned(found, output, console())
    return ExitCode.PARITY
