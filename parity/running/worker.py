"""The worker: one backend in a process of its own, so that its crash is a verdict and not the end of the harness.

Jobs and the events that answer them are lines of JSON on a socket that is the harness's and its alone: what a library
prints goes to a file, and there is nothing to read on standard input.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from parity.backend import Backend, Reference
from parity.discovery import Choice, find
from parity.dtypes import name_of, working_dtype
from parity.errors import ParityError, UsageError
from parity.generation import Message, Sampling
from parity.learnable import for_any_model, require_learnable
from parity.media import parse
from parity.native import give_back, tamed
from parity.running.execute import Run, execute, measured_run, oracle_at
from parity.running.process import STOP
from parity.running.started import WORKER, Start
from parity.scenario import Scenario
from parity.tap import SILENT, Tap
from parity.traces.measured import to_text
from parity.traces.trace import Key

Job = Mapping[str, Any]


class Stopped(Exception):
    """The job that streams was told to end."""


class Lines:
    """Lines of a socket; unlike a file's, it is known whether there are more without waiting for them."""

    def __init__(self, source: socket.socket) -> None:
        self._socket, self._left = source, b""
        self._ready = select.poll()
        self._ready.register(source, select.POLLIN)

    def __iter__(self) -> Iterator[bytes]:
        while True:
            line, end, left = self._left.partition(b"\n")
            if end:
                self._left = left
                yield line
            elif found := self._socket.recv(1 << 16):
                self._left += found
            else:
                return

    def waiting(self) -> bool:
        """Whether a line came, or a part of one, or nobody is there to send any."""
        return bool(self._left or self._ready.poll(0))


class Worker:
    """Holds the backend and answers jobs."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._socket = socket.socket(fileno=start.socket)
        self._lines = Lines(self._socket)
        self._backend: Backend | None = None

    def jobs(self) -> Iterator[Job]:
        """Jobs as they come, until the harness is gone; to stop what has ended is none."""
        yield from (job for job in map(json.loads, self._lines) if job["op"] != STOP)

    def tell(self, event: str, **fields: Any) -> None:
        """Send one event; sent at once, so that it survives a crash."""
        self._socket.sendall((json.dumps({"event": event, **fields}) + "\n").encode())

    def answer(self, job: Job) -> None:
        """Do one job, or say why not."""
        try:
            operation: Callable[[Job], Any] = getattr(self, f"do_{job['op']}")
            with tamed():
                result = operation(job)
            self.tell("done", result=result)
        except ParityError as error:
            self.tell("error", kind=type(error).__name__, message=str(error))
        except (Exception, MemoryError) as error:  # whatever a runtime throws is its verdict
            traceback.print_exc()
            reason = " ".join(str(error).split())[:300]
            self.tell("error", kind="Crash", message=f"{type(error).__name__}: {reason}")

    def do_open(self, job: Job) -> Any:
        """Import the backend, in the environment that it asks for; say what the harness must know of it."""
        found = self._found
        in_environment(found, self._start, WORKER)
        return {"dtypes": list(found.dtypes), "has_weights": found.has_weights(dict(self._choice.options))}

    def do_weights(self, job: Job) -> None:
        """Write the weights that the backend computes with."""
        self._found.write_weights(Path(job["checkpoint"]), Path(job["file"]), dict(self._choice.options))

    def do_load(self, job: Job) -> None:
        """Load a checkpoint into the backend."""
        options = dict(self._choice.options)
        with _no_collection():
            self._backend = self._found.load(Path(job["checkpoint"]), job["dtype"], **options)

    def do_contract(self, job: Job) -> Any:
        """The loaded reference's contract."""
        return self._reference.contract().to_json()

    def do_scenario(self, job: Job) -> Any:
        """The loaded reference's scenario of a name, for a prompt."""
        return self._reference.scenario(job["name"], job["prompt"], parse(job["media"])).to_json()

    def do_reduce(self, job: Job) -> None:
        """Write a small checkpoint of a model's architecture."""
        for_any_model(self._found).reduce(job["model"], Path(job["folder"]))

    def do_architectures(self, job: Job) -> Any:
        """Types of model that the backend has."""
        return list(for_any_model(self._found).architectures())

    def do_origin(self, job: Job) -> Any:
        """The versions of the loaded backend's libraries, a digest of each source file, and what is not woven."""
        found, versions = require_learnable(self._loaded), dict(self._loaded.versions())
        return {"versions": versions, "sources": dict(found.sources()), "unwoven": list(found.unwoven)}

    def do_tap_by(self, job: Job) -> None:
        """Tap every place, and the steps of a table."""
        require_learnable(self._loaded).tap_by(Path(job["table"]))

    def do_run(self, job: Job) -> None:
        """Run a scenario and write its trace."""
        oracle, scenario = job["oracle"], job["scenario"]
        run = Run(
            output=Path(job["output"]),
            model=job["model"],
            weights=job["weights"],
            dtype=job["dtype"],
            mode=job["mode"],
            oracle=Path(oracle) if oracle else None,
            scenario=Scenario.from_json(scenario) if scenario else None,
            missing=_keys(job["missing"]),
            keep_tensors=job["keep_tensors"],
            command=tuple(job["command"]),
            party=self._loaded.name + self._choice.suffix,
        )
        execute(self._loaded, run, lambda step: self.tell("step", step=step))
        give_back()

    def do_executions(self, job: Job) -> Any:
        """The loaded reference's further executions, and whether it can add one term after the other."""
        return {"names": list(self._reference.executions), "plain": self._reference.plain}

    def do_measure(self, job: Job) -> str:
        """Run an execution of the loaded reference and say what it errs."""
        errors = measured_run(
            self._reference,
            oracle=oracle_at(Path(job["oracle"])),
            dtype=job["dtype"],
            mode=job["mode"],
            execution=job["execution"],
            missing=_keys(job["missing"]),
            notify=lambda step: self.tell("step", step=step),
        )
        give_back()
        return to_text(errors)

    def do_vary(self, job: Job) -> None:
        """Give the loaded reference known bugs, or take them back."""
        self._reference.vary([(name, place) for name, place in job["variants"]])

    def do_probe(self, job: Job) -> list[int]:
        """Write the tensors of a few steps, which the loaded reference with known bugs has in lockstep; say which."""
        from parity.running.probe import planted

        keys = [Key(*key) for key in job["keys"]]
        variants = [(name, place) for name, place in job["variants"]]
        oracle = oracle_at(Path(job["oracle"]))
        found = planted(self._reference, variants, oracle, keys, frozenset(job["missing"]))
        np.savez(job["output"], *map(_storable, found.values()))
        return [keys.index(key) for key in found]

    def do_generates(self, job: Job) -> bool:
        """Whether the loaded backend writes text."""
        return self._loaded.generates

    def do_generate(self, job: Job) -> Any:
        """Send text as it is decoded, and say how it ended; None where it was told to, or does not count."""
        messages = [Message.from_json(message) for message in job["messages"]]
        said = self._loaded.generate(messages, Sampling(**job["sampling"]), hear=self._going_on)
        try:
            while True:
                self.tell("text", text=next(said))
                self._going_on()
        except StopIteration as end:
            return end.value and asdict(end.value)
        except Stopped:
            return None

    def _going_on(self) -> Tap:
        """The silent tap, unless the harness said something meanwhile: in the middle of a job that is to stop."""
        if self._lines.waiting():
            raise Stopped
        return SILENT

    def do_doctor(self, job: Job) -> Any:
        """A backend's health checks, in the environment that it runs in."""
        return list(self._found.doctor())

    def do_places(self, job: Job) -> Any:
        """Where each fault that a backend declares is in the installed source, and the versions of that."""
        places = {fault.name: list(fault.where()) for fault in self._found.subject().faults}
        return {"places": places, "versions": dict(self._found.versions())}

    @property
    def _choice(self) -> Choice:
        return Choice.parse(self._start.backend)

    @property
    def _found(self) -> type[Backend]:
        return find(self._start.backend, self._start.group)

    @property
    def _loaded(self) -> Backend:
        if self._backend is None:
            raise UsageError("no checkpoint is loaded")
        return self._backend

    @property
    def _reference(self) -> Reference:
        if not isinstance(self._loaded, Reference):
            raise UsageError(f"backend {self._loaded.name} is not a reference")
        return self._loaded


def in_environment(found: type[Backend], start: Start, module: str) -> None:
    """Run the process again, in the environment that a backend asks for, unless it runs in it."""
    environment = {**os.environ, **found.environment(), **start.environment}
    if environment != os.environ and not start.executed:
        os.set_inheritable(start.socket, True)
        command = replace(start, executed=True).command(module)
        os.execve(command[0], command, environment)  # the linker, for one, reads its variables at a start alone


def _storable(value: np.ndarray) -> np.ndarray:
    """A tensor as NumPy's own files hold it: bfloat16, which they do not know, in float32, which has all its values."""
    return value.astype(working_dtype(name_of(value))) if value.dtype.kind == "V" else value


def _keys(given: Iterable[Sequence[Any]]) -> frozenset[Key]:
    return frozenset(Key(*key) for key in given)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage is collected while a framework and its model are made, all of which stays: a sixth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def serve(start: Start) -> None:
    """Answer jobs until the harness is gone; to import the backend is the first, which it need not give."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the harness's to handle: it ends its workers
    sys.path.extend(path for path in start.paths if path not in sys.path)
    os.register_at_fork(after_in_child=lambda: os.close(start.socket))
    threading.Thread(target=_end_with_harness, args=(start.socket,), daemon=True).start()
    worker = Worker(start)
    worker.answer({"op": "open"})
    for job in worker.jobs():
        worker.answer(job)


def _end_with_harness(number: int) -> None:
    """Wait until nobody is at the socket's other end, and end all processes of this group, whatever they are doing."""
    waiting = select.poll()
    waiting.register(number, 0)  # a hang-up is told in any case
    waiting.poll()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    serve(Start(**json.loads(sys.argv[1])))
