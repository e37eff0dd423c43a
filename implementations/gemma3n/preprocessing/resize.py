"""Bilinear resampling with antialias in the integer arithmetic of the reference, equal to it in every bit.

The reference resizes 8-bit images with 16-bit integer weights and rounds to 8 bits after the horizontal and again after
the vertical pass (`at::native::upsample_avx_bilinear_bicubic_uint8`, and the same in portable code). Pillow has wider
weights, so that about one value in a thousand differs by 1/255.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.preprocessing.media_file import requires

PRECISION = 22
"""Most fractional bits of a weight: 32 of the accumulator, less 8 of a pixel and 2 of headroom."""
CHANNELS = 3
LINES = 192
"""Rows that are read and resampled at a time: some megabytes, which stay in the cache."""

Read = Callable[[int, int], NDArray[np.uint8]]
"""Rows of an image, from the first index to before the second: ``[row column channel=3]``."""


def resize(read: Read, size: tuple[int, int], *, height: int, width: int) -> NDArray[np.uint8]:
    """Resample an image of `size`, rows and columns, to ``[channel=3 height width]``.

    Like the reference, an axis that has its size already is not touched.

    Raises:
        BackendUnavailable: where Numba is not installed.
    """
    rows, columns = size
    with requires("numba"):
        from implementations.gemma3n.preprocessing import resampling
    planes = np.empty((CHANNELS, rows, width), np.uint8)
    for begin in range(0, rows, LINES):
        strip = read(begin, min(begin + LINES, rows))
        some = planes[:, begin : begin + len(strip)]
        if columns == width:
            some[...] = np.moveaxis(strip, -1, 0)
        else:
            resampling.along_columns(strip, *_axis(columns, width), some)
    if rows == height:
        return planes
    result = np.empty((CHANNELS, height, width), np.uint8)
    resampling.along_rows(planes, *_axis(rows, height), result)
    return result


@lru_cache(maxsize=8)
def _axis(inputs: int, outputs: int) -> tuple[NDArray[np.int64], NDArray[np.int32], int]:
    """`fixed_weights`, kept: pictures of one size often come together."""
    starts, weights, bits = fixed_weights(inputs, outputs)
    return starts, weights.astype(np.int32), bits


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
