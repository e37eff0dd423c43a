"""What was learned, in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from parity.learning.learn import Learned
from parity.report.console import plain, print_line

SHOWN = 5
"""Pairs that did not hold, and functions that are not woven: the first tell what kind they are."""


def print_learned(learned: Learned, output: Path, out: Console) -> None:
    """Print how much of either side the table shows, and what did not hold."""
    table = learned.table
    steps = len(table.members())
    of_reference, of_port = learned.values
    print_line(out, f"learned    {plain(table.model)}: {len(table.rows)} rows, {steps} steps")
    print_line(
        out, f"reference  {plain(table.reference.backend)}: {learned.paired} of {of_reference} values have a row"
    )
    print_line(out, f"candidate  {plain(table.candidate.backend)}: {learned.paired} of {of_port} values have a row")
    _print_some(out, "dropped", [f"{pair.reference}: does not hold in {where}" for pair, where in learned.dropped])
    _print_some(out, "not woven", learned.unwoven)
    print_line(out, f"table      {plain(output)}")


def _print_some(out: Console, label: str, texts: Sequence[str]) -> None:
    for text in texts[:SHOWN]:
        print_line(out, f"{label:<10} {plain(text)}")
    if len(texts) > SHOWN:
        print_line(out, f"           and {len(texts) - SHOWN} more")
