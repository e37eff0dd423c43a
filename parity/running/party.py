"""The harness's side of a worker: start it, give it jobs, and say where it was when it died."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from parity.checkpoint import Checkpoint
from parity.discovery import BACKENDS, find, worker_environment
from parity.errors import BackendUnavailable, debugging, error_named
from parity.running.progress import Progress
from parity.traces.coverage import NOTHING, Missing
from parity.traces.measure import Error
from parity.traces.measured import MODES, from_text
from parity.traces.runs import Runs
from parity.traces.trace import Key, Mode, Trace


class Crash(BackendUnavailable):
    """A worker ended, or its runtime threw, in the middle of a job."""


class Party:
    """One party in a worker process: the oracle, the baseline or a candidate.

    Args:
        name: what reports and progress call it.
        backend: installed name or ``module:Class``.
        group: entry-point group that the name is looked up in.
        progress: told of each step.
        environment: further variables of the worker's environment, on top of the backend's own.

    Raises:
        UsageError: for an unknown backend.
    """

    def __init__(
        self,
        name: str,
        backend: str,
        *,
        group: str = BACKENDS,
        progress: Progress,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.backend = backend
        self._group = group
        self._progress = progress
        self._last_step = ""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker, closed by close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "parity.running.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=worker_environment(find(backend, group)) | dict(environment or {}),
            text=True,
        )

    def call(self, op: str, **fields: Any) -> Any:
        """Give one job and wait for its result.

        Raises:
            Crash: when the worker dies or its runtime throws, with the last step that it reached.
            ParityError: what the backend refused, as it said it.
        """
        return next((event["result"] for event in self._events(op, fields) if event["event"] == "done"), None)

    def stream(self, op: str, **fields: Any) -> Iterator[str]:
        """Give one job and yield the text that it sends."""
        for event in self._events(op, fields):
            if event["event"] == "text":
                yield event["text"]

    def load(self, checkpoint: Checkpoint, dtype: str) -> Self:
        """Load a checkpoint in an arithmetic."""
        self._checkpoint, self._dtype = checkpoint, dtype
        self._progress.start(self.name, 0, f"loading {dtype}")
        self.call("load", backend=self.backend, group=self._group, checkpoint=str(checkpoint.path), dtype=dtype)
        self._progress.done(self.name)
        return self

    def run(
        self,
        output: Path,
        *,
        oracle: Trace | None = None,
        scenario: dict[str, Any] | None = None,
        mode: Mode = "free",
        missing: Missing = NOTHING,
        keep_tensors: bool = True,
    ) -> Trace:
        """Run the loaded checkpoint in the scenario of the oracle's trace, or the oracle itself in `scenario`."""
        self._progress.start(self.name, len(oracle.records) if oracle else 0, f"{mode} run")
        self.call(
            "run",
            output=str(output),
            model=self._checkpoint.name,
            weights=self._checkpoint.weights,
            dtype=self._dtype,
            mode=mode,
            oracle=str(oracle.path) if oracle else None,
            scenario=scenario,
            missing=sorted(missing),
            keep_tensors=keep_tensors,
            command=sys.argv[1:],
        )
        self._progress.done(self.name)
        return Trace.read(output)

    def executions(self) -> tuple[tuple[str, ...], bool]:
        """Names of the loaded reference's further executions, and whether it can add one term after the other."""
        found = self.call("executions")
        return tuple(found["names"]), found["plain"]

    def measure(self, execution: str, *, oracle: Trace, mode: Mode, missing: Missing = NOTHING) -> dict[Key, Error]:
        """What the loaded reference errs in one of its executions; only its errors come back."""
        self._progress.start(self.name, len(oracle.records), f"{mode} run, {execution}")
        errors = self.call(
            "measure",
            oracle=str(oracle.path),
            dtype=self._dtype,
            mode=mode,
            execution=execution,
            missing=sorted(missing),
        )
        self._progress.done(self.name)
        return from_text(errors)

    def close(self) -> None:
        """End the worker, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with suppress(BrokenPipeError):  # a job was still unread when the worker died
                    stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _events(self, op: str, fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._last_step = ""
        self._send({"op": op, **fields})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "step":
                self._last_step = event["step"]
                self._progress.step(self.name, self._last_step)
            elif event["event"] == "error":
                raise self._failure(event)
            else:
                yield event
            if event["event"] == "done":
                return
        raise Crash(f"{self._where()}: {self._cause()}")

    def _send(self, job: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise Crash(f"{self.name} is gone: {self._cause()}") from error

    def _failure(self, event: dict[str, Any]) -> Exception:
        if event["kind"] == "Crash":
            if debugging():
                print(self._all_said(), file=sys.stderr)
            return Crash(f"{self._where()}: {event['message']}")
        return error_named(event["kind"], event["message"])

    def _where(self) -> str:
        place = f"at {self._last_step}" if self._last_step else "before its first step"
        return f"{self.name} crashed {place}"

    def _cause(self) -> str:
        """Why the process ended: its signal or exit code, and the last line that it wrote to standard error."""
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "killed, most likely for want of memory; try a shorter prompt or a smaller checkpoint"
        said = self._said()
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"{name}{f': {said}' if said else ''}"

    def _said(self) -> str:
        """The last line that the process wrote to standard error."""
        lines = self._all_said().splitlines()
        return lines[-1] if lines else ""

    def _all_said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()


def both(party: Party, output: Path, oracle: Trace) -> Runs:
    """A candidate's free run and its lockstep run, beside each other: `output` is their name, which the mode ends."""
    free, lockstep = (party.run(Path(f"{output}.{mode}"), oracle=oracle, mode=mode) for mode in MODES)
    return Runs(free, lockstep)
