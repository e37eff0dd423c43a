"""What one party does by itself: write a trace, say its contract, write text, say whether all is in place."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parity.checkpoint import Checkpoint
from parity.contract import Contract
from parity.discovery import BACKENDS, REFERENCES, available, reference_of
from parity.errors import BackendUnavailable, ParityError
from parity.generation import Finish, Message, Sampling
from parity.media import Part
from parity.running.party import Party
from parity.running.plan import ORACLE_DTYPE, plan_of, require_admitted
from parity.running.progress import Progress, Silent
from parity.scratch import scratch
from parity.traces.trace import Mode, Trace

Finding = tuple[str, bool, str, str]
"""Section, whether it is good, what was looked at, and what was found or how to cure it."""


def write_trace(
    *,
    checkpoint: Checkpoint,
    backend: str,
    dtype: str,
    scenario: str,
    prompt: str | None,
    media: tuple[Part, ...] = (),
    output: Path,
    oracle: Path | None,
    keep_tensors: bool,
    progress: Progress,
    reference: str | None = None,
) -> Path:
    """Write one trace: the oracle's (``backend="oracle"``), a lockstep run against an oracle's trace, or a free run.

    Without an oracle's trace the scenario and the contract are the reference's, so it must be installed; None for the
    one of the checkpoint's type of model.
    """
    true_one = reference_of(checkpoint, reference)
    require_admitted(checkpoint, true_one, prompt, media)

    def write_oracle(target: Path, *, keep: bool) -> Trace:
        with Party("oracle", true_one, group=REFERENCES, progress=progress) as party:
            plan = plan_of(party.load(checkpoint, ORACLE_DTYPE), scenario, prompt, media)
            return party.run(target, scenario=plan, keep_tensors=keep)

    if backend == "oracle":
        return write_oracle(output, keep=keep_tensors).path
    group = REFERENCES if backend == true_one else BACKENDS
    mode: Mode = "lockstep" if oracle else "free"
    with scratch() as folder:
        true = Trace.read(oracle) if oracle else write_oracle(folder / "oracle", keep=False)
        with Party(backend, backend, group=group, progress=progress) as party:
            party.load(checkpoint, dtype).run(output, oracle=true, mode=mode, keep_tensors=keep_tensors)
    return output


def contract_of(checkpoint: Checkpoint, reference: str | None = None) -> Contract:
    """The contract of a checkpoint, from the reference; None for the one of its type of model."""
    true_one = reference_of(checkpoint, reference)
    require_admitted(checkpoint, true_one, None, ())
    with _loaded(true_one, REFERENCES, checkpoint, "float32") as party:
        return Contract.from_json(party.call("contract"))


class Writer:
    """A backend that writes text, loaded once."""

    def __init__(self, party: Party) -> None:
        self._party = party

    def __call__(self, messages: Sequence[Message], sampling: Sampling) -> Generator[str, None, Finish | None]:
        """What it says to a conversation, piece by piece, and how it ended; None where it was stopped.

        It begins at once; left early, it stops before the next token.
        """
        plain = [asdict(message) for message in messages]
        return _finished(self._party.stream("generate", messages=plain, sampling=asdict(sampling)))

    def stop(self) -> None:
        """Have it stop before the next token; from any thread."""
        self._party.stop()

    def kill(self) -> None:
        """End its process, whatever it is doing; from any thread."""
        self._party.kill()


def _finished(said: Generator[str, None, Any]) -> Generator[str, None, Finish | None]:
    found = yield from said
    return Finish(**found) if found else None


@contextmanager
def writer(
    *, checkpoint: Checkpoint, backend: str, dtype: str, environment: Mapping[str, str] | None = None
) -> Iterator[Writer]:
    """Load a backend to generate with.

    Raises:
        BackendUnavailable: for one that cannot.
    """
    with _loaded(backend, BACKENDS, checkpoint, dtype, environment) as party:
        if not party.call("generates"):
            raise BackendUnavailable(f"backend {backend} cannot generate text")
        yield Writer(party)


@contextmanager
def _loaded(
    backend: str, group: str, checkpoint: Checkpoint, dtype: str, environment: Mapping[str, str] | None = None
) -> Iterator[Party]:
    with Party(backend, backend, group=group, progress=Silent(), environment=environment) as party:
        yield party.load(checkpoint, dtype)


def health(backends: tuple[str, ...]) -> Iterator[Finding]:
    """Findings on the installed references and on `backends` (none named: all that are installed), each in a worker."""
    references = tuple(available(REFERENCES))
    others = tuple(name for name in available() if name not in references)
    for group, names in ((REFERENCES, references), (BACKENDS, backends or others)):
        for name in names:
            yield from _examine(name, group)


def _examine(name: str, group: str) -> Iterator[Finding]:
    try:
        with Party(name, name, group=group, progress=Silent()) as party:
            for good, what, found in party.call("doctor"):
                yield name, good, what, found
    except ParityError as error:
        yield name, False, "worker", str(error)
