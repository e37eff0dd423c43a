"""Norm, mean and activation: the small operations that every component uses."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import mlx.core as mx
import numpy as np
from mlx.nn.layers import linear
from mlx.nn.layers.base import Module
from mlx.nn.layers.embedding import Embedding
from numpy.typing import NDArray

from implementations.mlx.operations.blas import adds_in_order

ON_CPU = mx.default_device() == mx.Device(mx.cpu)
"""Whether MLX computes on the CPU, where it has no fused kernels: `mx.fast` falls back to compositions there."""

IN_ORDER = ON_CPU and adds_in_order()
"""Whether a product of float32 matrices errs by a share that grows with the length of its sums."""

LINEAR = -2 * math.sqrt(2 / math.pi)
CUBIC = LINEAR * 0.044715
"""-2z of GELU is ``LINEAR x + CUBIC x^3``."""


def fused(function: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """An elementwise `function` as one kernel. On a CPU without g++ MLX runs its operations one by one.

    Taps stand around such functions, never in them, so a recorded run computes the same bits as a silent one.
    """
    return mx.compile(function, shapeless=True)


class Linear(linear.Linear):
    """Multiplies by ``weight``, ``[out, in]``; as exact as other runtimes where the BLAS is not.

    Added one after the other, 2,048 terms are off by 13 units of roundoff and 256 by 5, where the reference's are by 2.
    """

    def __call__(self, x: mx.array) -> mx.array:
        """``[..., in]`` to ``[..., out]`` in x's dtype."""
        if not IN_ORDER or x.dtype != mx.float32 or "bias" in self:
            return super().__call__(x)
        return in_blocks(x, self._blocks())

    def _blocks(self) -> mx.array:
        """The weight in blocks, made again only when it is another: copying it takes longer than a token's product."""
        kept = self.get("_kept")
        if kept is None or kept[0] is not self.weight:
            self._kept = kept = (self.weight, blocks_of(self.weight))
        return kept[1]


def blocks_of(weight: mx.array) -> mx.array:
    """``[out, in]`` as ``[block, term, out]``, of blocks as `mean` has them."""
    parts = mx.unflatten(weight, -1, (-1, _block(weight.shape[-1])))
    return mx.contiguous(mx.transpose(parts, (1, 2, 0)))


def in_blocks(x: mx.array, blocks: mx.array) -> mx.array:
    """Product of ``[..., in]``, float32, with a weight's `blocks`: each is summed, then their sums: ``[..., out]``."""
    rows = mx.unflatten(x.reshape(-1, x.shape[-1]), -1, blocks.shape[:2])
    return mx.sum(mx.swapaxes(rows, 0, 1) @ blocks, axis=0).reshape(*x.shape[:-1], -1)


class Table(Embedding):
    """An embedding that is too large to be held, and is used for nothing else: its rows are read as they are asked for.

    Attributes:
        look_up: rows ``[id, channel]`` for ids; None for a table that was not loaded, whose `weight` is used.
    """

    look_up: Callable[[NDArray[np.int64]], mx.array] | None = None

    def __call__(self, x: mx.array) -> mx.array:
        """``[...]``, ids, to ``[..., channel]``."""
        if self.look_up is None:
            return super().__call__(x)
        ids = np.array(x).astype(np.int64)
        return self.look_up(ids.reshape(-1)).reshape(*ids.shape, -1)


class RMSNorm(Module):
    """Root-mean-square norm with a gain (arXiv 1910.07467).

    The gain is kept in float32, so that it multiplies before the result is rounded to the working dtype. With a 16-bit
    gain `mx.fast.rms_norm` rounds twice, which costs 1.5 times the error in bfloat16.
    """

    def __init__(self, dims: int, eps: float) -> None:
        super().__init__()
        self.weight = mx.ones((dims,))
        self._eps = eps

    def __call__(self, x: mx.array) -> mx.array:
        """Norm over the last axis of `x`, any shape; in x's dtype."""
        return rms_norm(x, self.weight, self._eps)


def rms_norm(x: mx.array, gain: mx.array | None, eps: float) -> mx.array:
    """``x / rms(x) * gain`` over the last axis of `x`, any shape, in x's dtype.

    On the CPU the mean is `mean`'s: that of `mx.fast.rms_norm` is off by up to 37 units of roundoff at width 2048.
    """
    if not ON_CPU:
        return mx.fast.rms_norm(x, gain, eps).astype(x.dtype)
    square = mean(mx.square(x.astype(mx.float32)))
    return _divided(x, square, eps) if gain is None else _normed(x, square, eps, gain)


def mean(x: mx.array) -> mx.array:
    """Mean over the last axis of a float32 `x`, the axis kept.

    MLX's CPU adds one number after the other, with an error that grows with the square root of their count; adding
    blocks first takes that root twice. GPU kernels add in a tree.
    """
    if not ON_CPU:
        return mx.mean(x, axis=-1, keepdims=True)
    count = x.shape[-1]
    blocks = mx.sum(mx.unflatten(x, -1, (-1, _block(count))), axis=-1)
    return mx.sum(blocks, axis=-1, keepdims=True) * (1 / count)


@fused
def _divided(x: mx.array, square: mx.array, eps: float) -> mx.array:
    return (x.astype(mx.float32) * mx.rsqrt(square + eps)).astype(x.dtype)


@fused
def _normed(x: mx.array, square: mx.array, eps: float, gain: mx.array) -> mx.array:
    return (x.astype(mx.float32) * mx.rsqrt(square + eps) * gain).astype(x.dtype)


@fused
def gelu(x: mx.array) -> mx.array:
    """Tanh form of GELU, any shape, in x's dtype (arXiv 1606.08415).

    ``0.5 x (1 + tanh z) = x / (1 + exp(-2z))``: the right side has no cancellation for negative x and no power, which
    makes it more exact, and twice as fast on a CPU. Computed in float32, rounded once.
    """
    wide = x.astype(mx.float32)
    return (wide / (1 + mx.exp(wide * (LINEAR + CUBIC * mx.square(wide))))).astype(x.dtype)


def swap(x: mx.array) -> mx.array:
    """``batch token head head_dim`` to ``batch head token head_dim``, and back; a view."""
    return mx.swapaxes(x, 1, 2)


@cache
def _block(count: int) -> int:
    """The largest power of two that divides `count` and whose square does not exceed it."""
    power = 1 << (math.isqrt(count).bit_length() - 1)
    return math.gcd(power, count)
