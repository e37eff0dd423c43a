"""Products with a matrix whose nonzeros lie near its diagonal, as those of resampling and of mel filters do.

A dense product would multiply almost only zeros; the nonzeros of some neighbouring outputs are one small dense block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
"""Outputs a block: enough for BLAS, and few enough that not many zeros are multiplied."""
ONE_THREAD = 1 << 18
"""Multiplications up to which OpenBLAS stays on the calling thread: waking others costs more than such products."""


@dataclass(frozen=True)
class Block:
    """`matrix` [inputs outputs] makes the outputs `to` from the inputs `of`; all other inputs weigh nothing."""

    of: slice
    to: slice
    matrix: NDArray[np.floating]


@dataclass(frozen=True)
class Banded:
    """A matrix [inputs outputs] in blocks, in the order of its outputs."""

    blocks: tuple[Block, ...]
    outputs: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the matrix."""
        return self.blocks[0].matrix.dtype

    @classmethod
    def of(
        cls, starts: NDArray[np.integer], weights: NDArray[np.floating], inputs: int, *, block: int = BLOCK
    ) -> Banded:
        """Output `i` is the sum over `k` of ``weights[i, k] * input[starts[i] + k]``.

        Args:
            starts: first input of each output, ascending, ``[outputs]``.
            weights: ``[outputs taps]``; those of inputs beyond the last are zero.
            inputs: how many there are.
            block: outputs a block.
        """
        return cls(tuple(_blocks(starts, weights, inputs, block)), len(starts))

    @classmethod
    def from_dense(cls, matrix: NDArray[np.floating]) -> Banded:
        """The same matrix ``[inputs outputs]``, whose nonzeros move down as the outputs go on."""
        used = matrix != 0
        starts = np.maximum.accumulate(np.where(used.any(axis=0), used.argmax(axis=0), 0))
        taps = np.arange(max(int((used.shape[0] - used[::-1].argmax(axis=0) - starts)[used.any(axis=0)].max()), 1))
        rows = starts[:, None] + taps
        weights = np.where(
            rows < len(matrix), matrix[np.minimum(rows, len(matrix) - 1), np.arange(len(starts))[:, None]], 0
        )
        return cls.of(starts, weights, len(matrix))

    @cached_property
    def strip(self) -> int:
        """Rows that every block is multiplied with at a time."""
        return max(ONE_THREAD // max(block.matrix.size for block in self.blocks), 8)

    def right_of(self, rows: NDArray[np.floating], *, out: NDArray[np.floating]) -> NDArray[np.floating]:
        """The product ``rows @ self``: ``[row inputs]`` gives `out` ``[row outputs]``."""
        for begin in range(0, len(rows), self.strip):
            some = slice(begin, begin + self.strip)
            for block in self.blocks:
                np.matmul(rows[some, block.of], block.matrix, out=out[some, block.to])
        return out


def _blocks(starts: NDArray[np.integer], weights: NDArray[np.floating], inputs: int, size: int) -> Iterator[Block]:
    taps = np.arange(weights.shape[1])
    for begin in range(0, len(starts), size):
        to = slice(begin, min(begin + size, len(starts)))
        first, end = int(starts[to.start]), min(int(starts[to.stop - 1]) + len(taps), inputs)
        # One column more takes the zero weights of inputs that are not there.
        matrix = np.zeros((end - first + 1, to.stop - to.start), weights.dtype)
        rows = np.minimum(starts[to, None] - first + taps, end - first)
        matrix[rows, np.arange(matrix.shape[1])[:, None]] = weights[to]
        yield Block(slice(first, end), to, np.ascontiguousarray(matrix[:-1]))
