"""The command that learns a contract which nobody wrote: learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import MLX, Standard, one_name
from parity.errors import ExitCode

if TYPE_CHECKING:
    from parity.checkpoint import Checkpoint


@contextmanager
def parties(
    checkpoint: Checkpoint, table: Path | None, reference: str | None, named: Sequence[str] | None, *, remember: bool
) -> Iterator[tuple[str | None, tuple[str, ...]]]:
    """The reference and the candidates as they run: with a table where there is one, or no contract was written."""
    from parity.learning.subject import parties_by_learning, parties_by_table
    from parity.report.progress import TerminalProgress
    from parity.running.cache import cache

    if table is not None:
        yield parties_by_table(checkpoint, table, reference, named)
        return
    with ExitStack() as stack:
        with TerminalProgress() as progress:
            kept = cache() if remember else None
            found = stack.enter_context(parties_by_learning(checkpoint, reference, named or (MLX,), progress, kept))
        yield found


def learn(
    *,
    model: Annotated[str, typer.Option("--model", metavar="DIR|MODEL_TYPE", help="Whose code is learned.")],
    reference: Standard = None,
    candidate: Annotated[
        str | None, typer.Option("--candidate", metavar="NAME", help="The port (default: the installed one).")
    ] = None,
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="The table.")] = Path("parity-table.toml"),
) -> int:
    """Learn which value of a port is which of the reference, and write the table."""
    from parity.discovery import BACKENDS, REFERENCES, usual_for_any_model
    from parity.learning.learn import learn as run
    from parity.learning.subject import small_checkpoint
    from parity.learning.table import LearnedTable
    from parity.report.console import console
    from parity.report.learned import print_learned
    from parity.report.progress import TerminalProgress

    true = one_name(reference or usual_for_any_model(REFERENCES), "--reference")
    port = one_name(candidate or usual_for_any_model(BACKENDS), "--candidate")
    before = LearnedTable.read(output) if output.exists() else None
    with TerminalProgress() as progress, small_checkpoint(model, true, progress) as checkpoint:
        found = run(checkpoint, reference=true, candidate=port, progress=progress, before=before)
    found.table.write(output)
    print_learned(found, output, console())
    return ExitCode.PARITY
