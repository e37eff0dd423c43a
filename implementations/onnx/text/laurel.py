"""Laurel: a learned augmented residual of low rank (arXiv 2411.07501)."""

from __future__ import annotations

from torch import Tensor, nn

from implementations.gemma3n.config import TextConfig
from implementations.onnx.operations.layers import RMSNorm, linear
from parity.tap import Tap


class Laurel(nn.Module):
    """``x + norm(right(left(x)))``, beside attention."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.linear_left = linear(config.hidden_size, config.laurel_rank)
        self.linear_right = linear(config.laurel_rank, config.hidden_size)
        self.post_laurel_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on the layer's normed input ``[batch, token, hidden]``; same shape."""
        left = tap("left", self.linear_left(x))
        right = tap("right", self.linear_right(left))
        normed = tap("normed", self.post_laurel_norm(right))
        return tap("out", x + normed)
