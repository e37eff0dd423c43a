"""What a table is learned of: a small checkpoint as it is, or one drawn for a large one or for a type of model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from parity.checkpoint import DEFAULT, Checkpoint, find_checkpoint, weight_files
from parity.discovery import (
    BACKENDS,
    OF_ANY_MODEL,
    REFERENCES,
    Choice,
    available,
    find,
    is_learnable,
    reference_by_learning,
    with_table,
)
from parity.errors import UsageError, installed
from parity.learning.learn import learn
from parity.learning.table import LearnedTable
from parity.learning.taps import ANY
from parity.running.cache import Cache
from parity.running.identity import identity, source_digest
from parity.running.party import Party
from parity.running.progress import Progress
from parity.scratch import scratch

SMALL = 64 * 2**20
"""Bytes of weights of a checkpoint that is learned of as it is: some seconds a run, and tensors of a GB together."""


@contextmanager
def small_checkpoint(model: str, reference: str, progress: Progress) -> Iterator[Checkpoint]:
    """A small checkpoint of a model's architecture.

    Args:
        model: a checkpoint's folder, the embedded one's name, or a type of model.
        reference: draws one where that is no small checkpoint.
        progress: told of that.

    Raises:
        UsageError: where none can be drawn.
    """
    folder = find_checkpoint(model).path if model == DEFAULT else Path(model)
    if folder.is_dir() and sum(file.stat().st_size for file in weight_files(folder)) <= SMALL:
        yield find_checkpoint(model)
        return
    if not folder.is_dir() and not model.isidentifier():
        raise UsageError(f"--model {model!r} is neither a checkpoint's folder nor a type of model")
    with scratch() as scratched:
        made = scratched / (folder.resolve().name if folder.is_dir() else model)
        with Party("drawing", with_table(reference, ANY), group=REFERENCES, progress=progress) as party:
            party.call("reduce", model=model, folder=str(made))
        yield find_checkpoint(str(made))


def parties_by_table(
    checkpoint: Checkpoint, path: Path, reference: str | None, candidates: Sequence[str] | None
) -> tuple[str, tuple[str, ...]]:
    """The reference and the candidates as a table has them; what a user named goes before.

    Raises:
        UsageError: for a table of another type of model.
    """
    table = LearnedTable.read(path)
    if table.model != checkpoint.model_type:
        raise UsageError(f"table {path} is of {table.model}, the checkpoint of {checkpoint.model_type}: learn another")
    true = with_table(reference or table.reference.backend, str(path))
    return true, tuple(with_table(name, str(path)) for name in candidates or (table.candidate.backend,))


@contextmanager
def parties_by_learning(
    checkpoint: Checkpoint, reference: str | None, candidates: Sequence[str], progress: Progress, kept: Cache | None
) -> Iterator[tuple[str | None, tuple[str, ...]]]:
    """The reference and the candidates as they were named; with a table where no contract was written for the model.

    Raises:
        UsageError: for several candidates, each of which needs a table of its own, or one that is for some models.
        BackendUnavailable: for a checkpoint that a side refuses.
    """
    true = reference_by_learning(checkpoint, reference)
    if true is None:
        yield reference, tuple(candidates)
        return
    if unknown := [name for name in candidates if not is_learnable(name)]:
        known = " or ".join(available(BACKENDS + OF_ANY_MODEL))
        raise UsageError(
            f"no contract was written for models of type {checkpoint.model_type!r}, and {unknown[0]} is not for any "
            f"model: name {known} with --candidates, to learn it of that"
        )
    if len(candidates) > 1:
        raise UsageError(f"no contract of {checkpoint.model_type} was written: name one candidate, to learn it of that")
    with scratch() as folder:
        path = folder / f"{checkpoint.model_type}.toml"
        _table(checkpoint, true, candidates[0], progress, kept).write(path)
        yield with_table(true, str(path)), (with_table(candidates[0], str(path)),)


def _table(
    checkpoint: Checkpoint, reference: str, candidate: str, progress: Progress, kept: Cache | None
) -> LearnedTable:
    """The table, or the one that was learned before of the same."""
    key = {"op": "learn", **_identity(checkpoint, reference, candidate)}
    if kept and (found := kept.find(key)):
        return LearnedTable.read(found)
    with small_checkpoint(str(checkpoint.path), reference, progress) as small:
        table = learn(small, reference=reference, candidate=candidate, progress=progress).table
    if kept:
        kept.keep(key, table.write)
    return table


def _identity(checkpoint: Checkpoint, reference: str, candidate: str) -> dict[str, object]:
    """All that a table depends on.

    Raises:
        BackendUnavailable: where a package of the port's is not installed.
    """
    port = find(with_table(candidate, ANY))
    with installed(f"{candidate} needs a package that is not installed"):
        packages = [port.__module__.partition(".")[0], *port.versions()]
    sources = [source_digest(name.replace("-", "_")) for name in packages]
    known = identity(with_table(reference, ANY), checkpoint, {})
    assert known is not None  # references for any model are installed ones
    return {**known, "candidate": Choice.parse(candidate).shown, "sources": sources}
