"""What is kept of one tensor: moments, extremes, counts, a content hash and a sketch.

A forward pass yields hundreds of tensors, and measuring them must cost less than computing them. So a tensor is read
once, in blocks that stay in the processor's cache, and every quantity is taken from a block while it is there. Rare
cases (NaN, infinities, squares that over- or underflow) show in the sum of squares; only then is a tensor measured
again, carefully.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from parity.dtypes import name_of, working_dtype
from parity.traces.description import Description
from parity.traces.fused import Sums, kernel_of
from parity.traces.sketch import BUCKETS, ROW, TILE, Floats, countable, fold, partial_sums

# A tile of float32 is 250 KB, a quarter of an L2 cache. A block is one tile, the last one up to half as much more.
_LONGEST_BLOCK = TILE + TILE // 2

# Squares lose a bit at most to the subtraction of the squared mean; beyond that the block is centred first. With three
# bits the deviation of half zeros and half -10,000 was off by 5e-6 of it, for sums of equal squares round one way.
_CANCELLATION = 2.0


@dataclass(frozen=True, slots=True)
class Statistics(Description):
    """Description of one tensor, and what tells it from others.

    NaN and infinities are left out of the sketch too; a tensor without a finite element has zeros there: tell it by
    `count`, `nan_count` and `inf_count`.

    Attributes:
        count: number of elements.
        digest: XXH3 of 128 bits, in hexadecimal, over the elements' little-endian bytes in C order; shape and dtype
            do not enter.
        sketch: 61 signed sums, see `parity.traces.sketch`.
    """

    count: int
    digest: str
    sketch: tuple[float, ...]

    @property
    def norm(self) -> float:
        """L2 norm over the finite elements."""
        return self.rms * math.sqrt(self.count - self.nan_count - self.inf_count)


class _Moments(NamedTuple):
    """What some elements have in common: extremes, zeros, mean, and the sum of squared deviations from that mean."""

    size: int
    low: float
    high: float
    zeros: int
    mean: float
    deviations: float


_NOTHING = _Moments(0, 0.0, 0.0, 0, 0.0, 0.0)


class Gathered(NamedTuple):
    """What was added up of one tensor; mean and deviations are of elements divided by ``2**exponent``."""

    total: _Moments
    sketch: npt.NDArray[np.float64]
    digest: str
    exponent: int = 0
    nan_count: int = 0
    inf_count: int = 0

    def statistics(self) -> Statistics:
        """The tensor's statistics."""
        total, exponent = self.total, self.exponent
        count = total.size + self.nan_count + self.inf_count
        abs_max = max(total.high, -total.low)
        variance = total.deviations / max(1, total.size)
        mean, std, rms = total.mean, math.sqrt(variance), math.sqrt(variance + total.mean * total.mean)
        if exponent:
            bound = math.ldexp(abs_max, -exponent)  # rounding must not lead beyond the largest finite number
            mean, std, rms = (math.ldexp(max(-bound, min(value, bound)), exponent) for value in (mean, std, rms))
        return Statistics(
            count=count,
            min=total.low,
            max=total.high,
            mean=max(total.low, min(mean, total.high)),
            std=min(std, abs_max),
            rms=min(rms, abs_max),
            abs_max=abs_max,
            zero_fraction=total.zeros / max(1, count),
            nan_count=self.nan_count,
            inf_count=self.inf_count,
            digest=self.digest,
            sketch=tuple(self.sketch.tolist()),
        )


def measure(array: npt.NDArray[Any]) -> Statistics:
    """Summarise `array` (any shape; float, integer or bool, bfloat16 included). It is copied only if not in C order.

    Raises:
        UsageError: when the array does not hold real numbers.
    """
    return gather(array).statistics()


def gather(array: npt.NDArray[Any]) -> Gathered:
    """What `measure` needs of `array`, which may change afterwards: its statistics can be made when there is time.

    Raises:
        UsageError: when the array does not hold real numbers.
    """
    array = np.asarray(array)
    dtype = working_dtype(name_of(array))
    flat = _flatten(array)
    return _gather_quickly(flat, dtype) or _gather_carefully(flat)


def digest_of(array: npt.NDArray[Any]) -> str:
    """The digest alone (see `Statistics`), at memory's speed."""
    return xxhash.xxh3_128(_flatten(array).view(np.uint8).data).hexdigest()


def _flatten(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The elements in C order and little-endian, (n,)."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1)


def _blocks(flat: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Where each block of `flat` (n,) starts, and the block.

    256 x 256 elements are a little more than a tile; a block of its own for the rest would cost more than its share.
    """
    start = 0
    while flat.size - start > _LONGEST_BLOCK:
        yield start, flat[start : start + TILE]
        start += TILE
    if start < flat.size:
        yield start, flat[start:]


def _gather_quickly(flat: npt.NDArray[Any], dtype: np.dtype[Any]) -> Gathered | None:
    """Takes `flat` (n,) as `dtype`; None when an element is not finite or a square over- or underflows."""
    kernel = kernel_of(dtype) if flat.flags.aligned else None
    hasher, sketch, blocks = xxhash.xxh3_128(), np.zeros(BUCKETS), []
    exact = flat.dtype == dtype
    for start, raw in _blocks(flat):
        hasher.update(raw.view(np.uint8).data)
        values = raw if exact else raw.astype(dtype)
        sums = kernel(values, start, sketch) if kernel else _by_numpy(values, start, sketch)
        blocks.append(_moments(values, sums))
        if not math.isfinite(blocks[-1].deviations):
            return None
    total = _merge(blocks)
    if _underflows(total, dtype):
        return None
    return Gathered(total, sketch, hasher.hexdigest())


@np.errstate(all="ignore")  # what overflows is noticed by `_gather_quickly`, and measured again
def _by_numpy(values: Floats, start: int, sketch: npt.NDArray[np.float64]) -> Sums:
    """What a kernel says, where there is none, or of an array that it cannot read."""
    sketch += fold(partial_sums(values, start=start))
    return _sums(values)


@np.errstate(all="ignore")  # of infinities only
def _gather_carefully(flat: npt.NDArray[Any]) -> Gathered:
    """Takes `flat` (n,) whatever it holds: in float64, and scaled so that no square over- or underflows."""
    pieces = list(_blocks(flat))
    largest = max(float(np.max(np.abs(_finite(piece)), initial=0.0)) for _, piece in pieces)
    exponent = math.frexp(largest)[1] - 1  # a power of two scales without rounding
    nan_count, inf_count, sketch, blocks = 0, 0, np.zeros(BUCKETS), []
    for start, piece in pieces:
        wide = piece.astype(np.float64, copy=False)
        nan_count += int(np.count_nonzero(np.isnan(wide)))
        inf_count += int(np.count_nonzero(np.isinf(wide)))
        sketch += fold(partial_sums(countable(wide), start=start))
        kept = _finite(piece)
        if kept.size:
            scaled = np.ldexp(kept, -exponent)
            low, high, zeros = _extremes(kept)  # not of the scaled ones, the smallest of which may underflow
            blocks.append(_moments(scaled, _sums(scaled))._replace(low=low, high=high, zeros=zeros))
    return Gathered(_merge(blocks), sketch, digest_of(flat), exponent, nan_count, inf_count)


def _finite(piece: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The finite elements of `piece` (n,), in float64, (m,)."""
    wide = piece.astype(np.float64, copy=False)
    return wide[np.isfinite(wide)]


@cache
def _ones(dtype: np.dtype[Any]) -> Floats:
    return np.ones(ROW, dtype=dtype)


def _sums(values: Floats) -> Sums:
    """Extremes, zeros and sums of `values` (n,), n > 0."""
    return Sums(*_extremes(values), *_products(values))


def _products(values: Floats) -> tuple[float, float]:
    """Sum of `values` (n,) and sum of their squares.

    BLAS adds a row in its own dtype, in some 60 steps on 64 lanes; the rows are added in float64. It would start
    threads for a vector of more than 10000 elements, which costs more than the work itself.
    """
    ones = _ones(values.dtype)
    whole = values.size - values.size % ROW
    rest = values[whole:]
    total, squares = float(np.dot(rest, ones[: rest.size])), float(np.dot(rest, rest))
    if whole:
        rows = values[:whole].reshape(-1, ROW)
        total += sum(np.vecdot(rows, ones).tolist())
        squares += sum(np.vecdot(rows, rows).tolist())
    return total, squares


def _extremes(values: Floats) -> tuple[float, float, int]:
    """Minimum, maximum and number of zeros of `values` (n,), n > 0."""
    low, high = float(np.minimum.reduce(values)), float(np.maximum.reduce(values))
    if low > 0 or high < 0:
        return low, high, 0
    return low, high, int(np.count_nonzero(np.equal(values, 0)))  # three times as fast as counting floats


def _moments(values: Floats, sums: Sums) -> _Moments:
    """Moments of `values` (n,), n > 0, from their sums; where squares overflow or are NaN, so are `deviations`.

    The deviations are the squares less the mean's share of them, a difference that loses the leading bits which both
    have in common: one at most while the mean's share is no more than half. Where it is more, the values are read
    again, about their mean: both agree in 20 bits for 1000 + N(0, 1), of the 24 that float32 has. Equal values have no
    deviations, whatever the mean is rounded to.
    """
    low, high, zeros, total, squares = sums
    mean = total / values.size
    deviations = squares - total * mean
    if math.isfinite(squares) and squares > _CANCELLATION * deviations:
        mean, deviations = (low, 0.0) if low == high else _centred(values, mean)
    return _Moments(values.size, low, high, zeros, mean, deviations)


def _centred(values: Floats, near: float) -> tuple[float, float]:
    """Mean and sum of squared deviations of `values` (n,), from their differences to a number near the mean.

    The squares of 1000 + N(0, 1) leave float32 no digit for the deviation; those of the differences keep all.
    """
    shift = values.dtype.type(near)
    total, squares = _products(values - shift)
    offset = total / values.size
    return float(shift) + offset, max(0.0, squares - total * offset)


def _merge(blocks: Sequence[_Moments]) -> _Moments:
    """Moments of all blocks together; deviations between block means are added, so nothing cancels."""
    if len(blocks) < 2:
        return blocks[0] if blocks else _NOTHING
    size = sum(block.size for block in blocks)
    mean = math.fsum(block.size * block.mean for block in blocks) / size
    return _Moments(
        size=size,
        low=min(block.low for block in blocks),
        high=max(block.high for block in blocks),
        zeros=sum(block.zeros for block in blocks),
        mean=mean,
        deviations=math.fsum(
            block.deviations + block.size * (block.mean - mean) * (block.mean - mean) for block in blocks
        ),
    )


@cache
def _smallest_mean_square(dtype: np.dtype[Any]) -> float:
    """Below this, squares that still matter to the mean square may be subnormal, hence inexact."""
    finfo = np.finfo(dtype)
    return float(finfo.smallest_normal) / float(finfo.eps) ** 2


def _underflows(total: _Moments, dtype: np.dtype[Any]) -> bool:
    """Whether squares in `dtype` were too small to be added up; all zeros are not."""
    if total.low == total.high == 0.0:
        return False
    return total.deviations / total.size + total.mean * total.mean < _smallest_mean_square(dtype)
