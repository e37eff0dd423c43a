"""What processes that are killed run: a set of one golden, and commands forked of a process that has imported all.

A start of Python and its imports are most of what a command on a toy takes, and nothing is written meanwhile. Forked,
three hundred commands fit into a minute, and a drawn moment falls where something happens. Everything else is as a
user's command has it: its own session, folder and signals, workers in groups of their own behind a socket.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from parity.cli import main
from parity.golden.sets import Entry, GoldenSet
from parity.running import started
from parity.running.worker import serve

SET = "tests.killed:golden_set"
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FILES = 1 << 16
"""More than any process here has open."""


def golden_set() -> GoldenSet:
    """Of the toy."""
    return GoldenSet(Path("goldens"), (Entry("toy", "toy", None),), str(Path("checkpoint").resolve()), "tests.toy:Toy")


def run(command: list[str], folder: Path, temporary: Path) -> None:
    """Run a command in a process that was forked for it, and in sessions of its own."""
    os.setsid()
    os.chdir(folder)
    os.environ["TMPDIR"], tempfile.tempdir = str(temporary), None
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    started.Spawned = Forked  # type: ignore[assignment, misc]
    main(command)


class Forked:
    """A worker, as `parity.running.started.Spawned` starts one, but for Python's own start."""

    def __init__(self, start: started.Start, theirs, output, module: str = started.WORKER) -> None:
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _work(start, theirs.fileno(), output.fileno())
        with suppress(OSError):  # it has done so itself, or ended
            os.setpgid(self.pid, self.pid)

    def poll(self) -> int | None:
        """How it ended."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until it ended."""
        begun = time.monotonic()
        while self.poll() is None:
            if timeout is not None and time.monotonic() - begun > timeout:
                raise subprocess.TimeoutExpired("a worker", timeout)
            time.sleep(0.005)
        return self._code

    def end_group(self) -> None:
        """Stop all of its group, at once."""
        started.end_group(self.pid)


def _work(start: started.Start, jobs: int, output: int) -> None:
    """Become the worker: nothing that the harness has open stays open, so that its end is seen."""
    try:
        os.setpgid(0, 0)
        for number in SIGNALS[1:]:
            signal.signal(number, signal.SIG_DFL)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.closerange(3, jobs)
        os.closerange(jobs + 1, FILES)
        serve(replace(start, socket=jobs, executed=True))
        os._exit(0)
    except BaseException:  # whatever it is, the harness's own code must not go on here
        traceback.print_exc()
        os._exit(1)
