"""One pass over a block for all that is measured, compiled by Numba where the extra ``fast`` is installed.

NumPy reads a block once for each quantity, eight times in all. Here each number is loaded once, and minimum, maximum,
zeros, sum, squares and signed sums are taken from it: 0.4 ns an element instead of 2, and for a few elements a third of
the time of so many calls. Numba takes half a second to be imported and its first compilation some seconds (kept in
``__pycache__``), so `kernel_of` is to be asked only where something is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from parity.traces.sketch import BUCKETS, ROW, ROWS, SLICE, SLICES, TILE, Floats, column_signs, row_signs

# What may be changed about the arithmetic: its order, the sign of zero, fused multiply-add, division. Not among them:
# that NaN and infinities do not occur, for they must be seen.
_FASTMATH = {"reassoc", "nsz", "contract", "arcp"}


class Sums(NamedTuple):
    """What one block adds up to. Where an element is not finite, `squares` is not, and the rest means nothing."""

    low: float
    high: float
    zeros: int
    total: float
    squares: float


Kernel = Callable[[Floats, int, npt.NDArray[np.float64]], Sums]
"""Reads the elements of a tensor from a multiple of TILE on: their values (n,), n > 0, aligned; that place; the sketch
(BUCKETS,), to which their signed sums are added."""

Scan = Callable[[Floats, Floats, Floats, npt.NDArray[np.float64]], tuple[float, float, float, float, float]]


@cache
def kernel_of(dtype: np.dtype[Any]) -> Kernel | None:
    """The kernel for float32 or float64, or None where there is no Numba that works.

    Any failure counts: Numba refuses a NumPy newer than it knows (ImportError), a file system on which it can keep
    nothing (RuntimeError), a full disk (OSError). The result is the same without it, only slower.
    """
    try:
        compiled = _compiled(dtype)
    except Exception:
        return None

    rows = row_signs(dtype)

    def read(values: Floats, start: int, sketch: npt.NDArray[np.float64]) -> Sums:
        columns = column_signs(dtype, start // TILE, -(-values.size // TILE))
        low, high, zeros, total, squares = compiled(values, columns, rows, sketch)
        return Sums(low, high, int(zeros), total, squares)

    return read


def _compiled(dtype: np.dtype[Any]) -> Scan:
    """`scan` in machine code for one dtype. Arrays are declared read-only, which others may be passed as.

    Numba's cache notices a change of this file only; the constants of `parity.traces.sketch` are frozen by its format.
    """
    import numba

    number = numba.from_dtype(dtype)
    vector, matrix = (numba.types.Array(number, axes, "C", readonly=True) for axes in (1, 2))
    signature = (vector, matrix, matrix, numba.float64[::1])
    compiled: Scan = numba.njit([signature], cache=True, nogil=True, fastmath=_FASTMATH)(scan)
    return compiled


def scan(
    values: Floats, columns: Floats, rows: Floats, sketch: npt.NDArray[np.float64]
) -> tuple[float, float, float, float, float]:
    """Minimum, maximum, zeros, sum and squares of `values` (n,), n > 0; adds their signed sums to `sketch`.

    Slice by slice of a tile, so that the 244 sums, minima and maxima stay in the L1 cache while the 16 rows of the
    slice pass. Sums of 244 numbers (in 32 lanes) or of 16 are in the dtype of `values`, sums of those in float64.

    Args:
        values: the elements; a part of the last tile may be missing.
        columns: signs of the columns of each tile, (tiles, ROW).
        rows: signs of the rows in each slice, (SLICES, ROWS).
        sketch: added to, (BUCKETS,).
    """
    nothing, one = values.dtype.type(0), values.dtype.type(1)
    signed = np.zeros(SLICE, values.dtype)
    lows, highs = np.full(SLICE, values[0]), np.full(SLICE, values[0])
    zeros = total = squares = 0.0
    for part in range(columns.shape[0] * SLICES):
        tile, slice_ = part // SLICES, part % SLICES
        if tile * TILE + slice_ * SLICE >= values.size:
            break
        signed[:] = nothing
        for row in range(ROWS):
            begin = tile * TILE + row * ROW + slice_ * SLICE
            piece, sign = values[begin : begin + SLICE], rows[slice_, row]
            some_zeros = some_total = some_squares = nothing
            for column in range(piece.size):
                value, low, high = piece[column], lows[column], highs[column]
                lows[column] = value if value < low else low
                highs[column] = value if value > high else high
                some_zeros += one if value == nothing else nothing
                some_total += value
                some_squares += value * value
                signed[column] += sign * value
            zeros, total, squares = zeros + float(some_zeros), total + float(some_total), squares + float(some_squares)
        for column in range(0, SLICE, BUCKETS):
            done, signs = signed[column : column + BUCKETS], columns[tile, slice_ * SLICE + column :]
            for bucket in range(BUCKETS):
                sketch[bucket] += np.float64(done[bucket] * signs[bucket])
    return lows.min(), highs.max(), zeros, total, squares
