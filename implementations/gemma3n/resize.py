"""Bilinear resampling with antialias in the integer arithmetic of the reference, equal to it in every bit.

The reference resizes 8-bit images with 16-bit integer weights and rounds to 8 bits after the horizontal and again after
the vertical pass (`at::native::upsample_avx_bilinear_bicubic_uint8`, and the same in portable code). Pillow has wider
weights, so that about one value in a thousand differs by 1/255. Sums of such products are exact in floating point,
in any order, and BLAS is fast at them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.banded import ONE_THREAD, Banded

PRECISION = 22
"""Most fractional bits of a weight: 32 of the accumulator, less 8 of a pixel and 2 of headroom."""
CHANNELS = 3
LINES = 192
"""Rows a strip of the horizontal pass: they stay in the cache, and pay for the calls that they take."""
MIDDLE = 128
"""Taken from pixels while they are weighed: what is left has a bit less, and float32 is exact for one bit more."""

Read = Callable[[int, int], Sequence[NDArray[np.uint8]]]
"""Rows of an image, from the first index to before the second: red, green and blue, each ``[row column]``."""


def resize(read: Read, size: tuple[int, int], *, height: int, width: int) -> NDArray[np.uint8]:
    """Resample an image of `size`, rows and columns, to ``[channel=3 height width]``.

    Like the reference, an axis that has its size already is not touched.
    """
    rows, columns = size
    planes = np.stack(read(0, rows)) if columns == width else _horizontal(read, size, width)
    return planes if rows == height else _vertical(planes, height)


def fixed_weights(inputs: int, outputs: int) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """First input, integer weights and fractional bits: ``[outputs]``, ``[outputs taps]``; a triangle over the input.

    The precision is the largest at which the greatest weight fits 16 bits with its sign.
    """
    starts, weights = triangles(inputs, outputs)
    bits, greatest = 0, weights.max()
    while bits < PRECISION and int(0.5 + greatest * 2 ** (bits + 1)) < 2**15:
        bits += 1
    return starts, np.floor(weights * 2**bits + 0.5), bits


def triangles(inputs: int, outputs: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """First input ``[outputs]`` and weights ``[outputs taps]``, summing to 1, of a triangle as wide as two outputs.

    Enlarging, it is as wide as two inputs: plain interpolation.
    """
    scale = inputs / outputs
    support = max(scale, 1.0)
    centres = scale * (np.arange(outputs) + 0.5)
    starts = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    ends = np.minimum((centres + support + 0.5).astype(np.int64), inputs)
    taps = np.arange(int((ends - starts).max()))
    distance = np.abs((taps + starts[:, None] - centres[:, None] + 0.5) * (1.0 / support))
    weights = np.where(taps < (ends - starts)[:, None], np.maximum(1.0 - distance, 0.0), 0.0)
    # Summed from left to right, as a loop does: another order could round a weight to another integer.
    return starts, weights / np.cumsum(weights, axis=1)[:, -1:]


@dataclass(frozen=True)
class _Axis:
    """The weights of one axis.

    Attributes:
        matrix: ``[inputs outputs]``, whole numbers, of which 2 ** `bits` is one.
        bits: of their fractions.
        offset: ``[outputs]``: what the middle grey weighs, and a half to round by.
    """

    matrix: Banded
    bits: int
    offset: NDArray[np.int32]

    def rounded(
        self, sums: NDArray[np.floating], whole: NDArray[np.int32], offset: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Sums of weighed pixels as pixels, in `whole`.

        Weights are positive and add up to one but for a ten thousandth, so that none is below 0 or above 255.
        """
        np.copyto(whole, sums, casting="unsafe")
        whole += offset
        whole >>= self.bits
        return whole


@lru_cache(maxsize=8)
def _axis(inputs: int, outputs: int, *, lines: int) -> _Axis:
    """Weights in blocks of such a size that a product with so many rows or columns stays on one thread.

    Pictures of one size often come together: a millisecond for each further axis is a tenth of a small one's time.
    """
    block = max(math.isqrt(int(ONE_THREAD / lines / max(inputs / outputs, 1))), 4)
    starts, weights, bits = fixed_weights(inputs, outputs)
    # Sums take 7 + bits bits: exact in float32's 24, or else in float64's 53. Weights may add up to a bit more than
    # one: the sums of black areas can then be off by their last bit, half a level away from where it would round.
    matrix = Banded.of(starts, weights.astype(np.float32 if bits <= 17 else np.float64), inputs, block=block)
    return _Axis(matrix, bits, (MIDDLE * weights.sum(axis=1) + 2 ** (bits - 1)).astype(np.int32))


def _horizontal(read: Read, size: tuple[int, int], width: int) -> NDArray[np.uint8]:
    """``[channel row width]``, made some rows at a time, which stay in the cache.

    Scratch is allocated once: fresh memory would cost more than the arithmetic.
    """
    rows, columns = size
    axis, result = _axis(columns, width, lines=LINES), np.empty((CHANNELS, rows, width), np.uint8)
    strip, dtype = max(axis.matrix.strip // CHANNELS, 1), axis.matrix.dtype
    centred, sums = (np.empty((CHANNELS * strip, length), dtype) for length in (columns, width))
    whole = np.empty(sums.shape, np.int32)
    for begin in range(0, rows, strip):
        count = min(strip, rows - begin)
        for channel, plane in enumerate(read(begin, begin + count)):
            np.copyto(centred[channel * count : (channel + 1) * count], _centred(plane))
        some = slice(CHANNELS * count)
        axis.matrix.right_of(centred[some], out=sums[some])
        found = axis.rounded(sums[some], whole[some], axis.offset)
        result[:, begin : begin + count] = found.reshape(CHANNELS, count, width)
    return result


def _centred(pixels: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Pixels less the middle grey: flipping the highest bit makes them two's complements of that."""
    return (pixels ^ np.uint8(MIDDLE)).view(np.int8)


def _vertical(planes: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """``[channel row column]`` to ``[channel height column]``."""
    axis = _axis(planes.shape[1], height, lines=planes.shape[2])
    result = np.empty((len(planes), height, planes.shape[2]), np.uint8)
    for block in axis.matrix.blocks:
        centred = _centred(planes[:, block.of]).astype(axis.matrix.dtype)
        sums = np.matmul(block.matrix.T, centred)
        result[:, block.to] = axis.rounded(sums, np.empty(sums.shape, np.int32), axis.offset[block.to, None])
    return result
