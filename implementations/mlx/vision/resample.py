"""Changing a map's height and width, ``[image, height, width, channel]``."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

Size = tuple[int, int]


def nearest(x: mx.array, size: Size) -> mx.array:
    """Each pixel of `size` takes the one that covers its upper left corner: row r takes ``floor(r * from / to)``."""
    for axis, wanted in zip((1, 2), size, strict=True):
        if x.shape[axis] != wanted:
            x = mx.take(x, mx.arange(wanted) * x.shape[axis] // wanted, axis=axis)
    return x


def shrunk(x: mx.array, side: int) -> mx.array:
    """The map at ``side x side``: means of equal tiles, or, where sides do not divide, linear between centres."""
    height, width = x.shape[1:3]
    if (height, width) == (side, side):
        return x
    wide = x.astype(mx.float32)  # 16-bit sums would round with every pixel
    if height % side or width % side:
        return _linear(_linear(wide, 1, side), 2, side).astype(x.dtype)
    tiles = mx.unflatten(mx.unflatten(wide, 2, (side, -1)), 1, (side, -1))
    return mx.mean(tiles, axis=(2, 4)).astype(x.dtype)


def _linear(x: mx.array, axis: int, side: int) -> mx.array:
    """Linear interpolation along one axis of a float32 map, without a filter that would widen when shrinking."""
    count = x.shape[axis]
    at = np.maximum((np.arange(side) + 0.5) * count / side - 0.5, 0)
    first = np.floor(at).astype(np.int32)
    second = np.minimum(first + 1, count - 1)
    share = mx.array((at - first).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(x.ndim)]))
    low, high = (mx.take(x, mx.array(index), axis=axis) for index in (first, second))
    return low * (1 - share) + high * share
