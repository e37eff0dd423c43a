"""Tensors of a checkpoint that have not been read yet, and those that are written as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from parity.checkpoint import require_whole
from parity.errors import UsageError

METADATA = "__metadata__"


class Stored(Protocol):
    """A tensor of a checkpoint."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As Hugging Face has it."""

    def read(self) -> NDArray[Any]:
        """Its numbers, in the dtype that they are stored in; in float64 where they are computed."""


@dataclass(frozen=True)
class Opened:
    """A safetensors file that is opened once for all of its tensors: each opening reads its whole header anew."""

    path: Path

    def read(self, name: str) -> NDArray[Any]:
        """The tensor of this name, as it is stored.

        Raises:
            UsageError: for a number format that is not known.
        """
        try:
            found: NDArray[Any] = self._tensors.get_tensor(name)
        except (SafetensorError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"checkpoint file {self.path}: {name} cannot be read ({error})") from error
        return found

    @cached_property
    def _tensors(self) -> Any:
        return safe_open(self.path, framework="np")


@dataclass(frozen=True)
class Written:
    """A tensor, not read yet.

    Attributes:
        file: where it is.
        name: what it is called there.
        stored: its shape there.
        channels_last: whether a convolution's input channels stand behind its kernel's axes, as MLX has them.
    """

    file: Opened
    name: str
    stored: tuple[int, ...]
    channels_last: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """As Hugging Face has it: a convolution's input channels stand before the kernel's axes."""
        turned = self.channels_last and len(self.stored) > 2
        return (self.stored[0], self.stored[-1], *self.stored[1:-1]) if turned else self.stored

    def read(self) -> NDArray[Any]:
        """Its numbers, in the dtype that they are stored in.

        Raises:
            UsageError: for a number format that is not known.
        """
        found = self.file.read(self.name)
        turned = self.channels_last and found.ndim > 2
        return np.ascontiguousarray(np.moveaxis(found, -1, 1)) if turned else found


def tensors_of(file: Path) -> Iterator[Written]:
    """Every tensor of a safetensors file.

    Raises:
        UsageError: for a file that is truncated or no safetensors file.
    """
    header = require_whole(file)
    metadata = header.pop(METADATA, None)
    of_mlx = isinstance(metadata, dict) and metadata.get("format") == "mlx"
    opened = Opened(file)
    for name, entry in header.items():
        yield Written(opened, name, tuple(entry["shape"]), of_mlx)
