"""The small operations that every component uses, in forms that ONNX has one operator for, or few."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """Root-mean-square norm, with a gain or without (arXiv 1910.07467)."""

    def __init__(self, dims: int, eps: float, *, gain: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dims)) if gain else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Norm over the last axis of `x`, any shape."""
        normed = x / torch.sqrt(mean_square(x) + self.eps)
        return normed if self.weight is None else normed * self.weight


def mean_square(x: Tensor) -> Tensor:
    """Mean of the squares over the last axis, which is kept."""
    return (x * x).mean(dim=-1, keepdim=True)


def linear(inputs: int, outputs: int, *, bias: bool = False) -> nn.Linear:
    """A product with ``weight``, ``[out, in]``."""
    return nn.Linear(inputs, outputs, bias=bias)


def gelu(x: Tensor) -> Tensor:
    """Tanh form of GELU, any shape (arXiv 1606.08415)."""
    return functional.gelu(x, approximate="tanh")
