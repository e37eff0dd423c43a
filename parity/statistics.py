"""What is kept of one tensor: moments, extremes, counts, a content hash and a sketch.

A forward pass yields hundreds of tensors, and measuring them must cost less than computing them. So a tensor is read
once, in blocks that stay in the processor's cache, and every quantity is taken from a block while it is there. Rare
cases (NaN, infinities, squares that over- or underflow) show in the sum of squares; only then is a tensor measured
again, carefully.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from parity.dtypes import name_of, working_dtype
from parity.sketch import RUN, TILE, Floats, as_rows, column_sums, countable, fold

# 4 tiles of float32 are 250 KB: a quarter of an L2 cache, which leaves room for the sketch's signs and for a copy.
_BLOCK_BYTES = 4 * 4 * TILE

# Squares lose 3 bits at most to the subtraction of the squared mean; beyond that the block is centred first.
_CANCELLATION = 8.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """Summary of one tensor.

    NaN and infinities are left out of extremes, moments and sketch, and counted. A tensor without a finite element
    (an empty one is the usual case) has 0.0 for all of them: tell it by `count`, `nan_count` and `inf_count`.

    Attributes:
        count: number of elements.
        min, max, mean: as named; integers beyond 2**53 are rounded.
        std: population standard deviation (divided by n).
        rms: root of the mean square.
        abs_max: largest magnitude.
        zero_fraction: share of elements, among all, that equal zero (either sign).
        nan_count, inf_count: elements that are NaN; that are infinite (either sign).
        digest: XXH3 of 128 bits, in hexadecimal, over the elements' little-endian bytes in C order; shape and dtype
            do not enter.
        sketch: 61 signed sums, see `parity.sketch`.
    """

    count: int
    min: float
    max: float
    mean: float
    std: float
    rms: float
    abs_max: float
    zero_fraction: float
    nan_count: int
    inf_count: int
    digest: str
    sketch: tuple[float, ...]

    @property
    def norm(self) -> float:
        """L2 norm over the finite elements."""
        return self.rms * math.sqrt(self.count - self.nan_count - self.inf_count)


class _Moments(NamedTuple):
    """Of some elements: extremes, zeros, mean, and the sum of squared deviations from that mean."""

    count: int
    low: float
    high: float
    zeros: int
    mean: float
    deviations: float


_NOTHING = _Moments(0, 0.0, 0.0, 0, 0.0, 0.0)


def measure(array: npt.NDArray[Any]) -> Statistics:
    """Summarise `array` (any shape; float, integer or bool, bfloat16 included). It is copied only if not in C order.

    Raises:
        UsageError: when the array does not hold real numbers.
    """
    flat = _flatten(array)
    with np.errstate(all="ignore"):  # what overflows is noticed below, and measured again
        quick = _measure_quickly(flat)
        return _measure_carefully(flat) if quick is None else quick


def _flatten(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The elements in C order and little-endian, (n,)."""
    array = np.asarray(array)
    name_of(array)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1)


def _measure_quickly(flat: npt.NDArray[Any]) -> Statistics | None:
    """Statistics of `flat` (n,), or None when an element is not finite or a square over- or underflows."""
    dtype = working_dtype(name_of(flat))
    size = _BLOCK_BYTES // dtype.itemsize
    hasher, sums, blocks = xxhash.xxh3_128(), [], []
    for start in range(0, flat.size, size):
        raw = flat[start : start + size]
        hasher.update(raw.view(np.uint8))
        values = raw.astype(dtype, copy=False)
        rows = as_rows(values)
        blocks.append(_moments(values, rows))
        if not math.isfinite(blocks[-1].deviations):
            return None
        sums.append(column_sums(rows))
    total = _merge(blocks)
    if _underflows(total, dtype):
        return None
    return _summary(total, sums, digest=hasher.hexdigest())


def _measure_carefully(flat: npt.NDArray[Any]) -> Statistics:
    """Statistics of `flat` (n,) whatever it holds: in float64, and scaled so that no square over- or underflows."""
    pieces = [flat[start : start + 2 * TILE] for start in range(0, flat.size, 2 * TILE)]
    largest = max(float(np.max(np.abs(_finite(piece)), initial=0.0)) for piece in pieces)
    exponent = math.frexp(largest)[1] - 1  # a power of two scales without rounding
    nan_count, inf_count, sums, blocks = 0, 0, [], []
    for piece in pieces:
        wide = piece.astype(np.float64, copy=False)
        nan_count += int(np.count_nonzero(np.isnan(wide)))
        inf_count += int(np.count_nonzero(np.isinf(wide)))
        sums.append(column_sums(as_rows(countable(wide))))
        kept = _finite(piece)
        if kept.size:
            scaled = np.ldexp(kept, -exponent)
            low, high, zeros = _extremes(kept)  # not of the scaled ones, the smallest of which may underflow
            blocks.append(_moments(scaled, as_rows(scaled))._replace(low=low, high=high, zeros=zeros))
    digest = xxhash.xxh3_128(flat.view(np.uint8)).hexdigest()
    return _summary(_merge(blocks), sums, digest, exponent=exponent, nan_count=nan_count, inf_count=inf_count)


def _finite(piece: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The finite elements of `piece` (n,), in float64, (m,)."""
    wide = piece.astype(np.float64, copy=False)
    return wide[np.isfinite(wide)]


@lru_cache(maxsize=None)
def _ones(dtype: np.dtype[Any]) -> Floats:
    return np.ones(RUN, dtype=dtype)


def _dot(rows: Floats, other: Floats) -> float:
    """Sum of the products of `rows` (r, RUN) and `other` (the same, or (RUN,)).

    BLAS adds RUN products in their own dtype, in some 60 steps on 64 lanes, and would start threads only for longer
    vectors, at a cost above the work itself; the few results are added in float64.
    """
    return sum(np.vecdot(rows, other).tolist())


def _extremes(values: Floats) -> tuple[float, float, int]:
    """Minimum, maximum and number of zeros of `values` (n,), n > 0."""
    zeros = int(np.count_nonzero(np.equal(values, 0)))  # to bool and count: three times as fast as counting floats
    return float(np.minimum.reduce(values)), float(np.maximum.reduce(values)), zeros


def _moments(values: Floats, rows: Floats) -> _Moments:
    """Moments of `values` (n,), n > 0, also given as `rows` padded with zeros. Not finite `deviations`: see caller."""
    runs = rows.reshape(-1, RUN)
    low, high, zeros = _extremes(values)
    mean = _dot(runs, _ones(rows.dtype)) / values.size
    squares = _dot(runs, runs)
    deviations = squares - values.size * mean * mean
    if math.isfinite(squares) and squares > _CANCELLATION * deviations:
        mean, deviations = (low, 0.0) if low == high else _centred(values, mean)
    return _Moments(values.size, low, high, zeros, mean, deviations)


def _centred(values: Floats, near: float) -> tuple[float, float]:
    """Mean and sum of squared deviations of `values` (n,), from their differences to a number near the mean.

    The squares of 1000 + N(0, 1) leave float32 no digit for the deviation; those of the differences keep all.
    """
    shift = values.dtype.type(near)
    runs = as_rows(values - shift).reshape(-1, RUN)
    offset = _dot(runs, _ones(values.dtype)) / values.size
    deviations = _dot(runs, runs) - values.size * offset * offset
    return float(shift) + offset, max(0.0, deviations)


def _merge(blocks: Sequence[_Moments]) -> _Moments:
    """Moments of all blocks together; deviations between block means are added, so nothing cancels."""
    if len(blocks) < 2:
        return blocks[0] if blocks else _NOTHING
    count = sum(block.count for block in blocks)
    mean = math.fsum(block.count * block.mean for block in blocks) / count
    return _Moments(
        count=count,
        low=min(block.low for block in blocks),
        high=max(block.high for block in blocks),
        zeros=sum(block.zeros for block in blocks),
        mean=mean,
        deviations=math.fsum(block.deviations + block.count * (block.mean - mean) ** 2 for block in blocks),
    )


@lru_cache(maxsize=None)
def _smallest_mean_square(dtype: np.dtype[Any]) -> float:
    """Below this, squares that still matter to the mean square may be subnormal, hence inexact."""
    finfo = np.finfo(dtype)
    return float(finfo.smallest_normal) / float(finfo.eps) ** 2


def _underflows(total: _Moments, dtype: np.dtype[Any]) -> bool:
    """Whether squares in `dtype` were too small to be added up; all zeros are not."""
    if total.low == total.high == 0.0:
        return False
    return total.deviations / total.count + total.mean**2 < _smallest_mean_square(dtype)


def _summary(
    total: _Moments,
    sums: list[Floats],
    digest: str,
    *,
    exponent: int = 0,
    nan_count: int = 0,
    inf_count: int = 0,
) -> Statistics:
    """Statistics from what was added up; `total`'s mean and deviations are of elements divided by ``2**exponent``."""
    finite = max(1, total.count)
    count = total.count + nan_count + inf_count
    abs_max = max(abs(total.low), abs(total.high))
    bound = math.ldexp(abs_max, -exponent)  # rounding must not push a result beyond the largest finite number
    variance = total.deviations / finite
    mean = math.ldexp(min(max(total.mean, -bound), bound), exponent)
    return Statistics(
        count=count,
        min=total.low,
        max=total.high,
        mean=min(max(mean, total.low), total.high),
        std=math.ldexp(min(math.sqrt(variance), bound), exponent),
        rms=math.ldexp(min(math.sqrt(variance + total.mean**2), bound), exponent),
        abs_max=abs_max,
        zero_fraction=total.zeros / max(1, count),
        nan_count=nan_count,
        inf_count=inf_count,
        digest=digest,
        sketch=tuple(fold(sums).tolist()),
    )
