"""The small operations that all parts use, in forms that ONNX has one operator for, or few."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """``x / sqrt(mean(x^2) + eps)`` along one axis, times a learned gain (arXiv 1910.07467).

    Args:
        width: length of the axis.
        eps: what is added to the mean square.
        axis: which one it is, counted from the end.
        gain: whether there is a learned gain, `weight`.
    """

    def __init__(self, width: int, eps: float, *, axis: int = -1, gain: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width)) if gain else None
        self._eps, self._axis = eps, axis
        self._trailing = (1,) * (-axis - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Norm `x`, float, whose axis is `width` long; same shape."""
        normed = x / torch.sqrt(self.mean_square(x) + self._eps)
        return normed if self.weight is None else normed * self.weight.reshape(-1, *self._trailing)

    def mean_square(self, x: Tensor) -> Tensor:
        """Mean of the squares along the axis, which is kept."""
        return mean_square(x, self._axis)


class GroupedNorm(RMSNorm):
    """The same, whose mean is one of means of groups, as the towers need it.

    ONNX Runtime adds the channels of maps one after the other, which is off by six floors behind 2,048 of them.
    """

    def __init__(self, width: int, eps: float, *, axis: int = -1, gain: bool = True) -> None:
        super().__init__(width, eps, axis=axis, gain=gain)
        groups = next(count for count in range(math.isqrt(width), 0, -1) if width % count == 0)
        self._groups = groups, width // groups

    def mean_square(self, x: Tensor) -> Tensor:
        """Mean of the squares along the axis, which is kept."""
        by_group = x.square().unflatten(self._axis, self._groups).mean(self._axis)
        return by_group.mean(self._axis, keepdim=True)


def mean_square(x: Tensor, axis: int = -1) -> Tensor:
    """Mean of the squares along an axis, which is kept."""
    return (x * x).mean(dim=axis, keepdim=True)


def linear(inputs: int, outputs: int, *, bias: bool = False) -> nn.Linear:
    """A product with ``weight``, ``[out, in]``."""
    return nn.Linear(inputs, outputs, bias=bias)


def gelu(x: Tensor) -> Tensor:
    """Tanh form of GELU, any shape (arXiv 1606.08415)."""
    return functional.gelu(x, approximate="tanh")
