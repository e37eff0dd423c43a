"""A worker's process as the harness holds it: lines go in and come out, and nothing of it outlives the harness."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress

from parity.errors import UsageError
from parity.running.started import Start, started

TIMEOUT = "PARITY_TIMEOUT"
"""The variable of the environment for how many seconds a worker may say nothing."""
PATIENCE = 1800.0
"""What it is where none is set: no step, and no loading of a model that fits in memory, took a tenth of it."""
STOP = "stop"
"""The job that has no answer: it ends the one that streams, and comes too late where that has ended."""
_BEAT = 0.5
"""Seconds between two looks at whether a silent worker is alive."""


def patience() -> float:
    """Seconds without a word after which a worker is taken for stuck.

    Raises:
        UsageError: where the variable is no such number.
    """
    text = os.environ.get(TIMEOUT) or str(PATIENCE)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds < math.inf:
        raise UsageError(f"{TIMEOUT}={text!r} is no number of seconds; give one of 1 or more")
    return seconds


class Stuck(Exception):
    """A worker said nothing for too long; it may wait for ever."""


class Process:
    """One worker in a process group of its own, and the socket between them.

    Args:
        start: as it is told; the socket is made here.
        timeout: seconds without a word after which it counts as stuck; None for the usual.

    Raises:
        UsageError: for a variable of the environment that cannot be.
    """

    def __init__(self, start: Start, timeout: float | None = None) -> None:
        self._patience = timeout or patience()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker, closed by end()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._child = started(start, theirs, self._errors)
        self._socket.settimeout(_BEAT)

    def send(self, line: str) -> None:
        """Write one line.

        Raises:
            OSError: when nobody reads any more.
        """
        self._socket.settimeout(self._patience)
        self._socket.sendall(f"{line}\n".encode())
        self._socket.settimeout(_BEAT)

    def call_out(self, line: str) -> None:
        """Write one short line, from any thread, while another one waits for lines; nobody may be there to read it."""
        with suppress(OSError):
            self._socket.send(f"{line}\n".encode())

    def lines(self) -> Iterator[str]:
        """Lines as they come, until the process is gone.

        Raises:
            Stuck: when none came for too long.
        """
        left, heard = b"", time.monotonic()
        while True:
            try:
                found = self._socket.recv(1 << 16)
            except TimeoutError:
                if self._child.poll() is not None:
                    return  # what it forked may hold the socket open
                if time.monotonic() - heard > self._patience:
                    raise Stuck(f"said nothing for {self._patience:g} s") from None
                continue
            except ConnectionResetError:
                return
            if not found:
                return
            heard = time.monotonic()
            *whole, left = (left + found).split(b"\n")
            yield from (line.decode() for line in whole)

    def code(self) -> int | None:
        """How it ended: its exit code, or minus the number of a signal; None where it lives on, and says no more."""
        try:
            return self._child.wait(10 * _BEAT)
        except subprocess.TimeoutExpired:
            return None

    def said(self) -> str:
        """What it wrote to standard output and standard error."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()

    def end(self) -> None:
        """End it and what it forked, whatever they are doing; again, nothing."""
        self.kill()
        self._child.wait()
        self._socket.close()
        self._errors.close()

    def kill(self) -> None:
        """Stop all of its group, at once; not once it has ended, for its number may be another's by then."""
        if self._socket.fileno() >= 0:
            self._child.end_group()
