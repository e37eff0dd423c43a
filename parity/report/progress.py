"""Progress on standard error: a line per party, shown only when the work takes longer than a second."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from threading import RLock, Timer
from types import TracebackType
from typing import IO, Self

from rich.live import Live
from rich.table import Table

from parity.report.console import console, plain

DELAY = 1.0
"""Seconds that pass before anything is shown: a quick run stays quiet."""


@dataclass
class _Line:
    """What one party does."""

    what: str
    total: int
    steps: int = 0
    last: str = ""
    busy: bool = True


class TerminalProgress:
    """Shows progress while its ``with`` block runs, and leaves nothing behind, however the block ends.

    On a terminal, a line per party that is redrawn in place; elsewhere one plain line when a party begins.

    Args:
        file: where to; standard error when None.
        delay: seconds before anything is shown.
    """

    def __init__(self, file: IO[str] | None = None, *, delay: float = DELAY) -> None:
        self._console = console(sys.stderr if file is None else file)
        self._animated = self._console.file.isatty() and not self._console.is_dumb_terminal
        self._lines: dict[str, _Line] = {}
        self._lock = RLock()
        self._shown = False
        self._live: Live | None = None
        self._timer = Timer(delay, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timer.cancel()
        with self._lock:
            live, self._live, self._shown, self._animated = self._live, None, False, False
        if live is not None:
            live.stop()  # outside the lock: it waits for the thread that draws, which takes the lock

    def start(self, party: str, total: int, what: str) -> None:
        """`party` begins to do `what`."""
        with self._lock:
            new = party not in self._lines
            self._lines[party] = _Line(what, total)
            if new and self._shown and not self._animated:
                self._announce(party)

    def step(self, party: str, name: str) -> None:
        """`party` reached the step `name`."""
        with self._lock:
            line = self._lines.setdefault(party, _Line("", 0))
            line.steps += 1
            line.last = name

    def done(self, party: str) -> None:
        """`party` finished."""
        with self._lock:
            if party in self._lines:
                self._lines[party].busy = False

    def _show(self) -> None:
        """Begin to show, on the timer's thread."""
        with self._lock:
            if self._timer.finished.is_set():
                return  # the block ended while the timer went off
            self._shown = True
            if self._animated:
                self._live = Live(
                    console=self._console,
                    get_renderable=self._table,
                    transient=True,
                    refresh_per_second=8,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._live.start()
            else:
                for party in self._lines:
                    self._announce(party)

    def _announce(self, party: str) -> None:
        self._console.print(f"parity: {plain(party)}: {plain(self._lines[party].what)}", soft_wrap=True)

    def _table(self) -> Table:
        """The lines as they are now; too long ones are cut at the edge, so that a line stays a line."""
        grid = Table.grid(padding=(0, 2))
        for _ in range(4):
            grid.add_column(no_wrap=True, overflow="ellipsis")
        with self._lock:
            for party, line in self._lines.items():
                steps = f"{line.steps:,}" + (f"/{line.total:,}" if line.total else "") if line.steps else ""
                what = line.what if line.busy else f"{line.what}, done"
                grid.add_row(plain(party), plain(what), steps, plain(line.last) if line.busy else "")
        return grid
