"""The harness's side of a worker: start it, give it jobs, and say where it was when it died."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from parity.checkpoint import Checkpoint
from parity.discovery import BACKENDS, is_installed, require, require_dtype
from parity.errors import DEBUG, BackendUnavailable, ParityError, debugging, error_named
from parity.running.process import STOP, TIMEOUT, Process, Stuck
from parity.running.progress import Progress
from parity.running.started import Start
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
        timeout: seconds without a word after which the worker counts as stuck, which is a crash; None for the usual.

    Raises:
        UsageError: for an unknown backend; one that cannot be imported is refused when it is first asked for something.
    """

    def __init__(
        self,
        name: str,
        backend: str,
        *,
        group: str = BACKENDS,
        progress: Progress,
        environment: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        self.name = name
        self.backend = backend
        self._progress = progress
        self._last_step = ""
        require(backend, group)
        paths = [] if is_installed(backend, group) else [*filter(None, sys.path)]
        self._process = Process(Start(backend, group, dict(environment or {}), paths), timeout)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Names of the arithmetics that the backend can run in; to ask is to wait until it is imported.

        Raises:
            Crash: when the import ended the worker, or threw.
            UsageError: for a backend that cannot be imported, or options that it does not have.
        """
        return tuple(self._opened["dtypes"])

    @property
    def has_weights(self) -> bool:
        """Whether it computes with other weights than the checkpoint's; to ask is to wait as for its `dtypes`."""
        return bool(self._opened["has_weights"])

    @cached_property
    def _opened(self) -> dict[str, Any]:
        """What the worker says of the backend that it has imported."""
        opened: dict[str, Any] = next(event["result"] for event in self._replies() if event["event"] == "done")
        return opened

    def write_weights(self, checkpoint: Checkpoint, file: Path) -> None:
        """Write the weights that it computes with, in place of a checkpoint's; it need not be loaded.

        Raises:
            Crash: when the worker dies or its runtime throws.
            UsageError: for a checkpoint that the backend cannot take.
        """
        self._progress.start(self.name, 0, "its own weights")
        self.call("weights", checkpoint=str(checkpoint.path), file=str(file))
        self._progress.done(self.name)

    def call(self, op: str, **fields: Any) -> Any:
        """Give one job and wait for its result.

        Raises:
            Crash: when the worker dies or its runtime throws, with the last step that it reached.
            ParityError: what the backend refused, as it said it.
        """
        self._send(op, fields)
        return next((event["result"] for event in self._replies() if event["event"] == "done"), None)

    def stream(self, op: str, **fields: Any) -> Generator[str, None, Any]:
        """Give one job, at once, and yield the text that it sends; returns its result. One that is left is stopped."""
        self._send(op, fields)
        return self._text()

    def _text(self) -> Generator[str, None, Any]:
        events = self._replies()
        try:
            for event in events:
                if event["event"] == "done":
                    return event["result"]
                yield event["text"]
        except GeneratorExit:
            self.stop()
            with suppress(ParityError):  # nobody waits for it; who died of it says so when asked again
                list(events)
            raise

    def stop(self) -> None:
        """Have the job that streams end before its next forward pass; from any thread."""
        self._process.call_out(json.dumps({"op": STOP}))

    def load(self, checkpoint: Checkpoint, dtype: str) -> Self:
        """Load a checkpoint in an arithmetic.

        Raises:
            UsageError: for an arithmetic that the backend does not have.
        """
        require_dtype(self.backend, self.dtypes, dtype)
        self._checkpoint, self._dtype = checkpoint, dtype
        self._progress.start(self.name, 0, f"loading {dtype}")
        self.call("load", checkpoint=str(checkpoint.path), dtype=dtype)
        self._progress.done(self.name)
        return self

    def wake(self) -> None:
        """Be loaded, as it is."""

    def knows(self, op: str, **fields: Any) -> bool:
        """Whether a job was answered before, and need not be done."""
        return False

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

    def kill(self) -> None:
        """Have the worker die; from any thread. What it does then crashes."""
        self._process.kill()

    def close(self) -> None:
        """End the worker, whatever it is doing."""
        self._process.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _send(self, op: str, fields: dict[str, Any]) -> None:
        _ = self._opened
        self._last_step = ""
        try:
            self._process.send(json.dumps({"op": op, **fields}))
        except OSError as error:
            raise Crash(f"{self.name} is gone: {self._cause()}") from error

    def _replies(self) -> Iterator[dict[str, Any]]:
        """What the worker answers to one job; steps go to the progress display."""
        try:
            for event in map(json.loads, self._process.lines()):
                if event["event"] == "step":
                    self._last_step = event["step"]
                    self._progress.step(self.name, self._last_step)
                elif event["event"] == "error":
                    raise self._failure(event)
                else:
                    yield event
                if event["event"] == "done":
                    return
        except Stuck as stuck:
            self._process.kill()
            raise Crash(f"{self._where('is stuck')}: it {stuck}, so it was ended; {TIMEOUT} allows more") from stuck
        raise Crash(f"{self._where()}: {self._cause()}")

    def _failure(self, event: dict[str, Any]) -> Exception:
        if event["kind"] == "Crash":
            if debugging():
                print(self._process.said(), file=sys.stderr)
            hint = "" if debugging() else f"; {DEBUG}=1 shows its traceback"
            return Crash(f"{self._where()}: {event['message']}{hint}")
        return error_named(event["kind"], event["message"])

    def _where(self, what: str = "crashed") -> str:
        place = f"at {self._last_step}" if self._last_step else "before its first step"
        return f"{self.name} {what} {place}"

    def _cause(self) -> str:
        """Why the process ended: its signal or exit code, and the last line that it wrote."""
        code = self._process.code()
        if code is None:
            self._process.kill()
            return "it closed its connection to the harness and lives on; it is ended"
        if code == -signal.SIGKILL:
            return "killed, most likely for want of memory; try a shorter prompt or a smaller checkpoint"
        said = self._process.said().splitlines()
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"{name}{f': {said[-1]}' if said else ''}"


def both(party: Party, output: Path, oracle: Trace) -> Runs:
    """A candidate's free run and its lockstep run, beside each other: `output` is their name, which the mode ends."""
    free, lockstep = (party.run(Path(f"{output}.{mode}"), oracle=oracle, mode=mode) for mode in MODES)
    return Runs(free, lockstep)
