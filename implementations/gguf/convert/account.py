"""What conversion makes of each of a checkpoint's tensors, and what each of a file's is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gguf import GGMLQuantizationType

from implementations.gguf.convert.parts import Tensor, Zeros
from parity.errors import UsageError
from parity.weights.written import Stored

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Converted:
    """A tensor of the checkpoint and the tensor of a file that it went into.

    Attributes:
        source: its name in the checkpoint; None for a tensor that is made here.
        shape: there.
        name: of the file's tensor; None for what is left out.
        kind: of the file's numbers.
        became: the file's shape.
        change: what was done, or why it is left out; empty where numbers are only rounded.
    """

    source: str | None
    shape: Shape
    name: str | None
    kind: GGMLQuantizationType | None
    became: Shape
    change: str

    def __str__(self) -> str:
        if self.name is None or self.kind is None:
            return f"{self.source} {list(self.shape)}: left out, {self.change}"
        came = f"{self.source} {list(self.shape)}" if self.source else "made here"
        return f"{came} -> {self.name} {list(self.became)} {self.kind.name}{f': {self.change}' if self.change else ''}"


def account(tensors: Iterable[Tensor], found: Mapping[str, Stored], reasons: Mapping[str, str]) -> list[Converted]:
    """What became of every tensor of a checkpoint.

    Args:
        tensors: of all files.
        found: the checkpoint's tensors.
        reasons: why those are left out that begin with a name.

    Raises:
        UsageError: for a tensor that is neither used nor left out for a reason.
    """
    used = [entry for tensor in tensors for entry in _of(tensor)]
    names = {entry.source for entry in used}
    left = [Converted(name, found[name].shape, None, None, (), _reason(name, reasons)) for name in found.keys() - names]
    return [*used, *sorted(left, key=lambda entry: str(entry.source))]


def _of(tensor: Tensor) -> Iterator[Converted]:
    sources = [part for part in tensor.parts if not isinstance(part, Zeros)]
    for part in sources:
        yield Converted(part.name, part.shape, tensor.name, tensor.kind, tensor.shape, tensor.change)
    if not sources:
        yield Converted(None, (), tensor.name, tensor.kind, tensor.shape, tensor.change)


def _reason(name: str, reasons: Mapping[str, str]) -> str:
    """The reason of the longest beginning."""
    fitting = [prefix for prefix in reasons if name.startswith(prefix)]
    if not fitting:
        raise UsageError(f"the checkpoint's {name} has no place in a GGUF file, and no reason to be left out")
    return reasons[max(fitting, key=len)]


def counts(entries: Iterable[Converted]) -> str:
    """How many tensors were changed, left out and so on, in a line."""
    found = Counter(_what(entry) for entry in entries)
    return ", ".join(f"{count} {what}" for what, count in sorted(found.items()))


def _what(entry: Converted) -> str:
    if entry.source is None:
        return "made here"
    if entry.kind is None:
        return "left out"
    return f"{entry.kind.name} changed" if entry.change else entry.kind.name


def written(kind: str, entries: Iterable[Converted]) -> Iterator[str]:
    """Lines of a page: a heading, then one for each tensor, then their numbers."""
    entries = list(entries)
    yield f"# {kind}"
    yield from map(str, entries)
    yield counts(entries)
