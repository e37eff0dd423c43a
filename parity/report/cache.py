"""What is in the cache, as a table."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table

from parity.running.cache import FOLDER, Cache, Kept

NO_ARITHMETIC = "-"
"""Of what no party computed: a converted package."""


def print_entries(cache: Cache | None, console: Console) -> None:
    """Print a row for each checkpoint, arithmetic and kind of entry."""
    if cache is None:
        console.print(f"The cache is switched off by {FOLDER}=off.")
        return
    entries = [*cache.entries()]
    size = sum(entry.size for entry in entries)
    console.print(f"{cache.folder}: {_megabytes(size)} of {_megabytes(cache.limit)}", soft_wrap=True)
    if entries:
        console.print(_table(entries))


def _table(entries: list[Kept]) -> Table:
    counts: Counter[tuple[str, str, str]] = Counter()
    sizes: Counter[tuple[str, str, str]] = Counter()
    for entry in entries:
        row = _row(entry)
        counts[row] += 1
        sizes[row] += entry.size
    table = Table("checkpoint", "arithmetic", "what")
    table.add_column("entries", justify="right")
    table.add_column("size", justify="right")
    for row in sorted(counts):
        table.add_row(*row, f"{counts[row]}", _megabytes(sizes[row]))
    return table


def _row(entry: Kept) -> tuple[str, str, str]:
    key = entry.key
    what = f"{key['mode']} {key['op']}" if "mode" in key else key["op"]
    return key["checkpoint"][0], key.get("dtype", NO_ARITHMETIC), what


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"
