"""Laurel: a learned augmented residual of low rank (arXiv 2411.07501)."""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module

from implementations.gemma3n.config import TextConfig
from implementations.mlx.operations.layers import Linear, RMSNorm
from parity.tap import Tap


class Laurel(Module):
    """``x + norm(right(left(x)))``, beside attention."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.linear_left = Linear(config.hidden_size, config.laurel_rank, bias=False)
        self.linear_right = Linear(config.laurel_rank, config.hidden_size, bias=False)
        self.post_laurel_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def __call__(self, x: mx.array, *, tap: Tap) -> mx.array:
        """Run on the layer's normed input ``[batch, token, hidden]``; same shape."""
        left = tap("left", self.linear_left(x))
        right = tap("right", self.linear_right(left))
        normed = tap("normed", self.post_laurel_norm(right))
        return tap("out", x + normed)
