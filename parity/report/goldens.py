"""What is said of goldens: how to read a check, and what an update changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from parity.report.console import plain, print_line
from parity.report.table import Table

if TYPE_CHECKING:
    from parity.golden.updating import Update

ESTIMATED = (
    "the free run alone, seen through sketches: errors are estimates (+- 25 %), and a floor is twice the reference's "
    "own. Of what diverges behind the first divergence, only a lockstep run tells whether it errs by itself."
)

CHANGE_COLOUR = {"new": "green", "changed": "yellow", "removed": "red", "the same": "dim"}


def print_update(update: Update, out: Console) -> None:
    """Print a line for each golden, and under it what changed."""
    for change in update.changes:
        print_line(out, (plain(change.name), "bold"), ": ", (change.word, CHANGE_COLOUR[change.word]))
        grid = Table("", "", wraps="")
        for line in change.lines:
            what, _, rest = line.partition(": ")
            grid.add(Text(plain(what), "dim"), plain(rest)) if rest else grid.add(Text(), plain(what))
        if change.lines:
            grid.print(out)
    if all(change.word == "the same" for change in update.changes):
        print_line(out, "nothing changed")
    else:
        print_line(out, f"{_size(update.size)} in all; look at the changes, then commit them")


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"
