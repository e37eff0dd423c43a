"""Tensors that have not been read yet: names and shapes are known from the files' headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from parity.checkpoint import INDEX, WHOLE, require_whole, weight_files
from parity.errors import UsageError
from parity.weights.names import Spelling, bare, multimodal


class Stored(Protocol):
    """A tensor of a checkpoint."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As Hugging Face has it."""

    def read(self) -> NDArray[Any]:
        """Its numbers, in the dtype that they are stored in."""


@dataclass(frozen=True)
class Plain:
    """A tensor that is stored as it is.

    Attributes:
        file: where it is.
        name: what it is called there.
    """

    file: Path
    name: str
    shape: tuple[int, ...]

    def read(self) -> NDArray[Any]:
        """Read it.

        Raises:
            UsageError: for a number format that is not known.
        """
        try:
            with safe_open(self.file, framework="np") as tensors:
                found: NDArray[Any] = tensors.get_tensor(self.name)
        except (SafetensorError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"checkpoint file {self.file}: {self.name} cannot be read ({error})") from error
        return found


def stored(checkpoint: Path, spelled: Spelling) -> dict[str, Stored]:
    """The tensors of a checkpoint directory by the names that a reader calls them.

    Args:
        checkpoint: its folder.
        spelled: the reader's spelling.

    Raises:
        UsageError: for a file that is missing or truncated, or a tensor that is there twice.
    """
    return {spelled(name): tensor for name, tensor in _bare(checkpoint).items()}


def is_published(checkpoint: Path) -> bool:
    """Whether every loader finds the files and the names in them: they are as Hugging Face has them."""
    files = [file.name for file in weight_files(checkpoint)]
    found = (checkpoint / INDEX).is_file() or files == [WHOLE]
    return found and all(tensor.name == multimodal(name) for name, tensor in _bare(checkpoint).items())


def _bare(checkpoint: Path) -> Mapping[str, Plain]:
    found: dict[str, Plain] = {}
    for tensor in _all(checkpoint):
        name = bare(tensor.name)
        if name in found:
            twice = f"{found[name].name} in {found[name].file.name} and {tensor.name} in {tensor.file.name}"
            raise UsageError(f"checkpoint {checkpoint} has one tensor twice: {twice}; remove one of them")
        found[name] = tensor
    return found


def _all(checkpoint: Path) -> Iterator[Plain]:
    for file in weight_files(checkpoint):
        for name, entry in require_whole(file).items():
            if name != "__metadata__":
                yield Plain(file, name, tuple(entry["shape"]))
