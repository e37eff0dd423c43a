"""What conversion makes of a checkpoint: ``python -m implementations.ane.report CHECKPOINT``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from implementations.ane.weights import Entry, account
from implementations.gemma3n.config import Config
from parity.checkpoint import find_checkpoint
from parity.errors import ExitCode, ParityError


def lines(entries: Iterable[Entry]) -> list[str]:
    """A line for each tensor, then one with the counts."""
    entries = list(entries)
    width = max((len(entry.name) for entry in entries), default=0)
    rows = [f"{entry.action:8}  {entry.name:{width}}  {list(entry.shape)} -> {entry.became}" for entry in entries]
    counts = Counter(entry.action for entry in entries)
    return [*rows, ", ".join(f"{count} {action}" for action, count in sorted(counts.items()))]


def main(arguments: list[str]) -> int:
    """Print the report of a checkpoint, the embedded one where none is named; returns the exit code."""
    try:
        path: Path = find_checkpoint(arguments[0] if arguments else None).path
        print("\n".join(lines(account(path, Config.from_directory(path)))))
    except ParityError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return ExitCode.PARITY


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
