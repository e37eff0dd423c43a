"""The process of which the reference's workers are forked: it imports, computes nothing, and says how each ended.

``parity.running.started`` starts it, asks it for workers, and is told of them.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from parity.discovery import find
from parity.running.started import FORK_SERVER, Start, end_group
from parity.running.worker import in_environment, serve

LONGEST = 1 << 16
"""Bytes of a message."""


class Forks:
    """Forks a worker for each message of the harness.

    Args:
        control: where messages come from, each with a worker's socket, its output, and a pipe to tell of it.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._told: dict[int, int] = {}
        self._ended, wake = os.pipe()
        self._own = (self._ended, wake, control.fileno())
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def worker(self) -> Start | None:
        """Serve until the harness is gone, which is None; in each forked process what its worker is told."""
        with selectors.DefaultSelector() as ready:
            ready.register(self._control, selectors.EVENT_READ)
            ready.register(self._ended, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fileobj == self._ended:
                        self._bury()
                        continue
                    message, files, *_ = socket.recv_fds(self._control, LONGEST, 3)
                    if not message:
                        return None
                    if self._fork(files):
                        return self._born(json.loads(message), files)

    def _fork(self, files: list[int]) -> bool:
        """Whether this is the worker."""
        if (pid := os.fork()) == 0:
            return True
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            os.setpgid(pid, pid)
        worker, output, status = files
        os.close(worker)
        os.close(output)
        self._tell(status, pid)
        self._told[pid] = status
        return False

    def _born(self, told: dict[str, Any], files: list[int]) -> Start:
        """Become the worker: nothing of the server's stays open, and all is as if it had been started alone."""
        worker, output, status = files
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in (*self._own, *self._told.values(), status):
            os.close(number)
        self._control.detach()
        for stream in (1, 2):
            os.dup2(output, stream)
        os.close(output)
        with contextlib.suppress(OSError):  # a folder that is gone, as it is for the harness
            os.chdir(told["folder"])
        return replace(Start(**told["start"]), socket=worker, executed=True)

    def _bury(self) -> None:
        """Say how those ended that did."""
        os.read(self._ended, 512)
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = found
                self._tell(self._told[pid], os.waitstatus_to_exitcode(status))
                os.close(self._told.pop(pid))

    def _tell(self, status: int, number: int) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody asks any more
            os.write(status, b"%d\n" % number)


@contextlib.contextmanager
def _ended_with(control: socket.socket) -> Iterator[None]:
    """While this runs, the process ends when the harness does; no thread is left behind it, for forks follow."""
    done, stop = os.pipe()
    thread = threading.Thread(target=_watch, args=(control.fileno(), done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.close(stop)
        thread.join()
        os.close(done)


def _watch(control: int, done: int) -> None:
    waiting = select.poll()
    waiting.register(control, 0)  # a hang-up is told in any case
    waiting.register(done, select.POLLIN)
    if control in dict(waiting.poll()):
        end_group(0)


def main(start: Start) -> Start | None:
    """Import, and fork; returns what a forked worker is told."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path.extend(path for path in start.paths if path not in sys.path)
    control = socket.socket(fileno=start.socket)
    with _ended_with(control):
        with contextlib.suppress(Exception):  # what cannot be imported says so in the worker
            found = find(start.backend, start.group)
            in_environment(found, start, FORK_SERVER)
            found.preload()
            import numba  # noqa: F401  # with which `parity.traces.fused` measures
        gc.collect()
        gc.freeze()  # a collection in a worker would write to every page, and make it its own
    return Forks(control).worker()


if __name__ == "__main__":
    if (told := main(Start(**json.loads(sys.argv[1])))) is not None:
        serve(told)
