"""What a tensor of a GGUF file is made of, read a few rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, quants
from numpy.typing import NDArray

from parity.weights.written import ALL, Rows, Stored

NUMBERS = 1 << 22
"""Numbers that are in memory at a time: the per-layer table of a published model has 2,300 million."""


@dataclass(frozen=True)
class Source:
    """A tensor of the checkpoint.

    Attributes:
        name: what it is called there.
        stored: its numbers.
    """

    name: str
    stored: Stored

    @property
    def shape(self) -> tuple[int, ...]:
        """As the checkpoint has it."""
        return self.stored.shape

    def read(self, rows: Rows = ALL) -> NDArray[Any]:
        """Its numbers, or those of some rows."""
        return self.stored.read(rows)


@dataclass(frozen=True)
class Zeros:
    """Rows that no tensor of the checkpoint has."""

    shape: tuple[int, ...]

    def read(self, rows: Rows = ALL) -> NDArray[Any]:
        """Zeros, which take no memory: all are the same."""
        return np.broadcast_to(np.float32(0), self.shape)[rows]


@dataclass(frozen=True)
class Scaled:
    """A tensor of the checkpoint, multiplied."""

    source: Source
    factor: float

    @property
    def name(self) -> str:
        """What it is called in the checkpoint."""
        return self.source.name

    @property
    def shape(self) -> tuple[int, ...]:
        """As the checkpoint has it."""
        return self.source.shape

    def read(self, rows: Rows = ALL) -> NDArray[Any]:
        """The products, in float64: they are rounded once."""
        products: NDArray[np.float64] = self.source.read(rows).astype(np.float64) * self.factor
        return products


Part = Source | Scaled | Zeros


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file.

    Attributes:
        name: what it is called there.
        shape: as NumPy has it: the file lists the axes the other way round.
        kind: of its numbers.
        parts: one behind the other along the first axis.
        change: what was done, in a few words; empty where the numbers are only rounded to their kind.
    """

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    parts: tuple[Part, ...]
    change: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers in the file."""
        return math.prod(quants.quant_shape_to_byte_shape(self.shape, self.kind))

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """All numbers in float32, in order, a few rows at a time: ``[row, column]``."""
        for part in self.parts:
            rows, width = part.shape[0], part.shape[-1]
            step = max(1, NUMBERS * rows // max(1, math.prod(part.shape)))
            for first in range(0, rows, step):
                block = np.ascontiguousarray(part.read(slice(first, first + step)), np.float32)
                yield block.reshape(-1, width if len(part.shape) > 1 else len(block))
