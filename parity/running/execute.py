"""Runs one scenario on one loaded backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from parity.backend import Backend, Reference
from parity.contract import Contract
from parity.errors import UsageError
from parity.generation import Message, Sampling
from parity.media import Part, keep, resolve
from parity.running.recorder import Notify, Recorder
from parity.running.returned import ReturnedLogits
from parity.scenario import Chunk, Scenario
from parity.traces.coverage import NOTHING, Missing
from parity.traces.measure import Error
from parity.traces.measured import Measurement
from parity.traces.trace import Key, Manifest, Mode, Trace
from parity.traces.writer import TraceWriter, machine


@dataclass(frozen=True)
class Run:
    """What to run and where to write it.

    Attributes:
        output: the trace's folder.
        model: the checkpoint's name.
        weights: the checkpoint's digest.
        dtype: name of the arithmetic.
        mode: free, or lockstep against `oracle`.
        oracle: the oracle's trace, which gives contract, scenario and, in lockstep, values; None for the oracle itself.
        scenario: given for the oracle; awaits its greedy choices.
        missing: in lockstep, where the backend goes on with its own values and emits nothing.
        keep_tensors: whether tensors are written besides statistics.
        command: the user's command, for the manifest.
        party: what reports call who ran; the backend's name where there is none.
    """

    output: Path
    model: str
    weights: str
    dtype: str
    mode: Mode = "free"
    oracle: Path | None = None
    scenario: Scenario | None = None
    missing: Missing = NOTHING
    keep_tensors: bool = True
    command: tuple[str, ...] = ()
    party: str = ""


def oracle_at(path: Path) -> Trace:
    """An oracle's trace, read once for all that is asked of it in a row: its index takes a tenth of a run.

    Raises:
        UsageError: when it cannot be read.
    """
    files = [(file.name, file.stat()) for file in sorted(path.rglob("*"))]
    return _read(path, tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in files))


@lru_cache(maxsize=1)
def _read(path: Path, stamp: tuple[tuple[str, int, int, int], ...]) -> Trace:
    return Trace.read(path)


def execute(backend: Backend, run: Run, notify: Notify) -> None:
    """Run a scenario and write its trace.

    Raises:
        UsageError: when the run names neither an oracle's trace nor a scenario, or the trace cannot be written.
    """
    oracle = oracle_at(run.oracle) if run.oracle else None
    contract = oracle.contract if oracle else _contract(backend)
    scenario = oracle.scenario if oracle else run.scenario
    if scenario is None:
        raise UsageError("nothing to run: give a scenario or an oracle's trace")
    with TraceWriter(run.output, keep_tensors=run.keep_tensors) as writer:
        home = writer.folder if oracle is None else oracle.path  # the oracle's trace keeps pictures and sounds for all
        if oracle is None:
            scenario = scenario.mapped(lambda prompt: keep(prompt, home))
        returned = ReturnedLogits(writer, contract.logits, scenario, run.dtype)
        recorder = Recorder(
            contract=contract,
            tensors=backend.tensors,
            sink=returned,
            oracle=oracle,
            lockstep=run.mode == "lockstep",
            missing=run.missing,
            scenario=scenario,
            notify=notify,
        )
        # in lockstep a backend may return the oracle's logits as well as its own
        resolved = _run(backend, scenario, home, recorder, returned if run.mode == "free" else None)
        manifest = _manifest(backend, run, contract, resolved, writer.count)
        manifest = manifest.model_copy(update={"returned": returned.differing})
        writer.finish(manifest, None if oracle else contract)


def measured_run(
    reference: Reference,
    *,
    oracle: Trace,
    dtype: str,
    mode: Mode,
    execution: str,
    missing: Missing,
    notify: Notify,
) -> dict[Key, Error]:
    """Run the oracle's scenario in an execution of the reference, and measure its errors instead of writing a trace."""
    sink = Measurement(oracle, dtype, reference.executions.get(execution, 1.0))
    recorder = Recorder(
        contract=oracle.contract,
        tensors=reference.tensors,
        sink=sink,
        oracle=oracle,
        lockstep=mode == "lockstep",
        missing=missing,
        scenario=oracle.scenario,
        notify=notify,
    )
    with _executing(reference, execution):
        _run(reference, oracle.scenario, oracle.path, recorder)
    return sink.errors


@contextmanager
def _executing(reference: Reference, execution: str) -> Iterator[None]:
    reference.execute_as(execution)
    try:
        yield
    finally:
        reference.execute_as("")


def _run(
    backend: Backend, scenario: Scenario, home: Path, recorder: Recorder, returned: ReturnedLogits | None = None
) -> Scenario:
    """Run every chunk; a conversation by the backend's own generation loop, where it has one."""
    if not (scenario.turns and backend.generates):
        return _chunks(backend, scenario, home, recorder, returned)
    messages: list[Message] = []
    following = [*(turn[0] for turn in scenario.turns[1:]), None]
    for turn, behind in zip(scenario.turns, following, strict=True):
        messages.append(Message("user", resolve(turn[0].turn, home)))
        hear = recorder.hear([chunk.phase for chunk in turn])
        with recorder.running():
            said = "".join(backend.generate(messages, _forced(turn, behind), hear=hear))
        messages.append(Message("model", (Part("text", said),)))
    recorder.end()
    return scenario


def _forced(turn: Sequence[Chunk], behind: Chunk | None) -> Sampling:
    """A turn's reply by the scenario's tokens. What ends it is the first token of the chunk behind.

    Behind the last turn the backend chooses one token more by itself, so that all of the reply is read.
    """
    replied = (*turn[1:], *([behind] if behind else ()))
    return Sampling(max_tokens=len(turn), reply=tuple(chunk.tokens[0][0] for chunk in replied if chunk.tokens))


def _chunks(
    backend: Backend, scenario: Scenario, home: Path, recorder: Recorder, returned: ReturnedLogits | None
) -> Scenario:
    """Run every chunk; where a chunk awaits the oracle's choice, choose greedily and note it."""
    backend.start(padding=scenario.padding, cache=scenario.cache)
    forward = backend.forward_last if scenario.turns else backend.forward
    following = np.zeros((scenario.batch, 1), dtype=np.int64)
    for chunk in scenario.chunks:
        tokens = following if chunk.tokens is None else np.asarray(chunk.tokens, dtype=np.int64)
        scenario = scenario.with_tokens(chunk.phase, tokens)
        recorder.begin(chunk.phase)
        prompts = tuple(resolve(prompt, home) for prompt in chunk.prompts)
        with recorder.running():
            logits = forward(tokens, prompts=prompts, tap=recorder.tap)
        recorder.end()  # first: what a lazy backend cannot compute is the step's, not the logits'
        if returned is not None:
            returned.compare(np.asarray(logits))
        following = np.argmax(np.asarray(logits)[:, -1:].astype(np.float64), axis=-1)
    return scenario


def _contract(backend: Backend) -> Contract:
    if not isinstance(backend, Reference):
        raise UsageError(f"backend {backend.name} is not a reference: run it against an oracle's trace")
    return backend.contract()


def _manifest(backend: Backend, run: Run, contract: Contract, scenario: Scenario, records: int) -> Manifest:
    return Manifest(
        backend=run.party or backend.name,
        versions=dict(backend.versions()),
        dtype=run.dtype,
        mode=run.mode,
        model=run.model,
        weights=run.weights,
        contract=contract.digest,
        scenario=scenario.to_json(),
        tensors=run.keep_tensors,
        records=records,
        command=list(run.command),
        machine=machine(),
        hidden=dict(backend.hidden),
    )
