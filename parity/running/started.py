"""Starts of workers: a new process each, or a fork of one that has imported the reference already.

To import a framework takes seconds of a worker's start, and nothing of it depends on what the worker does next. So the
reference's, of which there are many, are forked from a process of their environment that has imported it and has
computed nothing: it has one thread, which makes that safe on Linux. Elsewhere systems' own libraries forbid it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import IO, Final

from parity.discovery import REFERENCES, Choice, available, find
from parity.errors import ParityError

WORKER: Final = "parity.running.worker"
FORK_SERVER: Final = "parity.running.fork_server"
MOST: Final = 2
"""Servers that wait for further workers: each holds what it has imported, most of a gigabyte. A comparison needs one,
and a calibration a second one, of workers on another instruction set."""
OF_A_TEST: Final = "PYTEST_CURRENT_TEST"
"""A variable that pytest changes for each test; no worker depends on it."""


@dataclass(frozen=True)
class Start:
    """What a worker is told.

    Attributes:
        backend: name and options.
        group: entry-point group of the name.
        environment: variables that it has whatever the backend asks for.
        paths: where the harness imports from.
        socket: number of the file that jobs come from.
        executed: whether the process has run itself again, in the environment that the backend asked for.
    """

    backend: str
    group: str
    environment: Mapping[str, str]
    paths: Sequence[str]
    socket: int = -1
    executed: bool = False

    def command(self, module: str = WORKER) -> list[str]:
        """The command line. With -P nothing is imported from the folder that the user happens to be in."""
        return [sys.executable, "-P", "-m", module, json.dumps(asdict(self))]

    def variables(self) -> dict[str, str]:
        """The environment of its process, before the backend asks for more."""
        return {name: value for name, value in os.environ.items() if name != OF_A_TEST} | dict(self.environment)


class Spawned(subprocess.Popen[bytes]):
    """A new process, in a group of its own."""

    def __init__(self, start: Start, theirs: socket.socket, output: IO[bytes] | int, module: str = WORKER) -> None:
        super().__init__(
            replace(start, socket=theirs.fileno()).command(module),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=start.variables(),
            pass_fds=[theirs.fileno()],
            process_group=0,
        )

    def end_group(self) -> None:
        """Stop all of its group, at once."""
        end_group(self.pid)


class ForkServer:
    """A process that has imported a reference, and of which workers are forked."""

    def __init__(self, start: Start) -> None:
        self._workers: list[Forked] = []
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = Spawned(start, theirs, subprocess.DEVNULL, FORK_SERVER)

    def fork(self, start: Start, theirs: socket.socket, output: IO[bytes]) -> Forked:
        """Ask for a worker, which is there when the server has imported the reference.

        Raises:
            OSError: where the server is gone.
        """
        status, of_the_server = os.pipe()
        told = {"start": asdict(start), "folder": os.getcwd()}
        try:
            files = [theirs.fileno(), output.fileno(), of_the_server]
            socket.send_fds(self._control, [json.dumps(told).encode()], files)
        except OSError:
            os.close(status)
            raise
        finally:
            os.close(of_the_server)
        self._workers = [worker for worker in self._workers if not worker.ended]
        self._workers.append(forked := Forked(self, status))
        return forked

    @property
    def idle(self) -> bool:
        """Whether each worker that was asked for has ended; who waits for one needs the server to tell of it."""
        return self.serves_only()

    def serves_only(self, *workers: Forked) -> bool:
        """Whether each other worker that was asked for has ended."""
        return all(worker.ended or worker in workers for worker in self._workers)

    def end(self) -> None:
        """End it; the workers that it has forked live on, and nothing is known of them any more."""
        self.process.end_group()
        self.process.wait()
        self._control.close()


class Forked:
    """A worker that a server forks, as `Spawned` shows one. The server writes its id to a pipe, and how it ended."""

    def __init__(self, server: ForkServer, status: int) -> None:
        self._server, self._status = server, os.fdopen(status, "rb", buffering=0)
        self._told = b""
        self._ended: int | None = None
        self._hearing = threading.Lock()

    @property
    def ended(self) -> bool:
        """Whether it is known how it ended; looks at nothing, so that any thread may ask."""
        return self._ended is not None

    def poll(self) -> int | None:
        """How it ended, as `subprocess.Popen.poll` says it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ended.

        Raises:
            subprocess.TimeoutExpired: where it lives on.
        """
        while self._ended is None:
            if not self._is_told(timeout):
                raise subprocess.TimeoutExpired("a forked worker", timeout or 0)
            with self._hearing:  # of several threads that wait, one reads what all of them were told of
                if not self.ended and self._is_told(0):
                    self._hear(self._status.read(64))
        return self._ended

    def _is_told(self, timeout: float | None) -> bool:
        """Whether there is something to read, or another thread has read all there is and closed the pipe meanwhile."""
        try:
            return bool(select.select([self._status], [], [], timeout)[0])
        except (OSError, ValueError):
            if self._ended is None:
                raise
            return True

    def end_group(self) -> None:
        """Stop all of its group, at once, and where it is not there yet the server, unless others wait for that too.

        Then it ends when it comes, for nobody is at the other end of its socket.
        """
        if self.poll() is not None:
            return
        pid, told, _ = self._told.partition(b"\n")
        if told or self._server.serves_only(self):
            end_group(int(pid) if told else self._server.process.pid)
        else:
            self._ended = -signal.SIGKILL
            self._status.close()

    def _hear(self, more: bytes) -> None:
        """The id and, behind it, the exit code; where the server ended first, its own stands for the worker's."""
        self._told += more
        if not more:
            self._ended = self._server.process.wait()
        elif self._told.count(b"\n") == 2:
            self._ended = int(self._told.splitlines()[1])
        if self._ended is not None:
            self._status.close()


Child = Spawned | Forked
_SERVERS: dict[str, ForkServer] = {}
_LOCK = threading.Lock()


def started(start: Start, theirs: socket.socket, output: IO[bytes]) -> Child:
    """Start a worker.

    Args:
        start: what it is told.
        theirs: its end of the socket that jobs come from.
        output: where it writes what its libraries print.
    """
    if _is_forked(start):
        with contextlib.suppress(OSError):  # a server that somebody ended
            return _server(start).fork(start, theirs, output)
    return Spawned(start, theirs, output)


def end_servers() -> None:
    """End all processes of which workers are forked, for what they have imported may have changed on the disk."""
    with _LOCK:
        _end([*_SERVERS])


def end_group(pid: int) -> None:
    """Stop all processes of a group, at once."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses where all of them are zombies
        os.killpg(pid, signal.SIGKILL)


def _is_forked(start: Start) -> bool:
    """Whether it is installed and a reference, judged or true, or says so; and the system one where a fork is safe.

    A class that is not installed says it itself, and is imported here already: what one does on import is unknown.
    Options that it does not have are refused before anything is imported, so by a worker that starts alone.
    """
    choice = Choice.parse(start.backend)
    target = available(choice.group(start.group)).get(choice.name)
    own = target is None
    if sys.platform != "linux" or (own and choice.name.partition(":")[0] not in sys.modules):
        return False
    try:
        found = find(start.backend, start.group)
    except ParityError:
        return False
    forks = vars(found).get("forks", False) if own else found.forks
    return forks or target in available(REFERENCES).values()


def _server(start: Start) -> ForkServer:
    """The server of that reference and environment."""
    name = Choice.parse(start.backend).served
    key = json.dumps([name, start.group, start.variables()], sort_keys=True)
    with _LOCK:
        if (found := _SERVERS.get(key)) and found.process.poll() is None:
            return found
        _end([key] if found else [])
        idle = [other for other, server in _SERVERS.items() if server.idle]
        _end(idle[: max(0, len(_SERVERS) + 1 - MOST)])
        return _SERVERS.setdefault(key, ForkServer(replace(start, backend=name)))


def _end(keys: Iterable[str]) -> None:
    for key in keys:
        _SERVERS.pop(key).end()


atexit.register(end_servers)
