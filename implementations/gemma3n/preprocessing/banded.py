"""Products with a matrix whose nonzeros lie near its diagonal, as those of mel filters do.

A dense product would multiply almost only zeros; the nonzeros of some neighbouring outputs are one small dense block.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

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

    @classmethod
    def of(cls, matrix: NDArray[np.floating]) -> Banded:
        """The same matrix, ``[inputs outputs]``."""
        places = range(0, matrix.shape[1], BLOCK)
        return cls(tuple(_block(matrix, slice(begin, begin + BLOCK)) for begin in places))

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


def _block(matrix: NDArray[np.floating], to: slice) -> Block:
    """The inputs from the first to the last that count for the outputs `to`; one where none does."""
    used = np.flatnonzero(matrix[:, to].any(axis=1))
    of = slice(used[0], used[-1] + 1) if used.size else slice(0, 1)
    return Block(of, to, np.ascontiguousarray(matrix[of, to]))
