"""Tensors of a checkpoint that have not been read yet, and those that are written as they are."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parity.checkpoint import require_whole
from parity.errors import UsageError
from parity.safetensors_header import FORMATS

METADATA = "__metadata__"
Rows = slice | NDArray[np.int64]
ALL = slice(None)


class Stored(Protocol):
    """A tensor of a checkpoint."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As Hugging Face has it."""

    def read(self, rows: Rows = ALL) -> NDArray[Any]:
        """Its numbers, or those of some rows, in the dtype that they are stored in; in float64 where they are computed.

        What is written as it is stays where it lies, and a change of it is nobody else's.
        """


@dataclass(frozen=True)
class Mapped:
    """A safetensors file whose bytes are read when they are looked at."""

    path: Path

    @functools.cached_property
    def tensors(self) -> NDArray[np.uint8]:
        """All bytes behind its header; one mapping for them all, for each holds a descriptor of the process open."""
        content = np.memmap(self.path, np.uint8, "c").view(np.ndarray)
        return content[8 + int.from_bytes(content[:8].tobytes(), "little") :]


@dataclass(frozen=True)
class Written:
    """A tensor, not read yet.

    Attributes:
        file: where it is.
        name: what it is called there.
        stored: its shape there.
        dtype: the format's name of its dtype.
        begin: the place of its first byte behind the file's header.
        channels_last: whether a convolution's input channels stand behind its kernel's axes, as MLX has them.
    """

    file: Mapped
    name: str
    stored: tuple[int, ...]
    dtype: str
    begin: int
    channels_last: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """As Hugging Face has it: a convolution's input channels stand before the kernel's axes."""
        turned = self.channels_last and len(self.stored) > 2
        return (self.stored[0], self.stored[-1], *self.stored[1:-1]) if turned else self.stored

    def read(self, rows: Rows = ALL) -> NDArray[Any]:
        """Its numbers, in the dtype that they are stored in.

        Raises:
            UsageError: for a number format that is not known.
        """
        if (dtype := FORMATS.get(self.dtype)) is None:
            raise UsageError(f"checkpoint file {self.file.path}: {self.name} cannot be read (numbers are {self.dtype})")
        found = self.file.tensors[self.begin : self.begin + math.prod(self.stored) * dtype.itemsize]
        if found.ctypes.data % dtype.itemsize:  # tensors of single bytes may lie before it
            found = found.copy()
        numbers = found.view(dtype).reshape(self.stored)[rows]
        turned = self.channels_last and numbers.ndim > 2
        return np.ascontiguousarray(np.moveaxis(numbers, -1, 1)) if turned else numbers


def tensors_of(file: Path) -> Iterator[Written]:
    """Every tensor of a safetensors file.

    Raises:
        UsageError: for a file that is truncated or no safetensors file.
    """
    header = require_whole(file)
    metadata = header.pop(METADATA, None)
    of_mlx = isinstance(metadata, dict) and metadata.get("format") == "mlx"
    mapped = Mapped(file)
    for name, entry in header.items():
        yield Written(mapped, name, tuple(entry["shape"]), entry["dtype"], entry["data_offsets"][0], of_mlx)
