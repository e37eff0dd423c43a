"""The operations that every component uses, in the form in which the Neural Engine runs them.

Activations have the axes ``batch, channel, 1, token``: the engine wants tokens last and contiguous, and runs a product
with a weight fastest as a 1 x 1 convolution over the channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAST_SCALE = 1e-4
"""Smallest divisor of `root_mean_square`: a normal number of float16, so that a row of zeros gives zero."""


class Projection(nn.Conv2d):
    """``W x``, ``[batch, in, 1, token]`` to ``[batch, out, 1, token]``: a matrix as a 1 x 1 convolution."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__(inputs, outputs, kernel_size=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply ``[batch, in, 1, token]``.

        With channels last in memory torch adds the terms of a few tokens' products in blocks, as it does for the
        reference; otherwise one after the other: 4.6 units of roundoff at 256 channels, not 1.5.
        """
        return super().forward(x.contiguous(memory_format=torch.channels_last)).contiguous()


class RMSNorm(nn.Module):
    """Root-mean-square norm (arXiv 1910.07467) through LayerNorm of ``[x, -x]``.

    The doubled vector has mean 0 and the variance ``mean(x^2)``, so with the same `eps` its LayerNorm begins with
    ``x / sqrt(mean(x^2) + eps)``. The engine's LayerNorm scales before it squares; squares written out overflow
    float16 from ``|x| = 256`` on, and the norm then silently returns zeros.

    Args:
        width: channels.
        eps: added to the mean square.
        gain: whether there is a learned gain, `weight`.
    """

    def __init__(self, width: int, eps: float, *, gain: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width)) if gain else None
        self.eps = eps
        self._width = width

    def forward(self, x: Tensor, axis: int = 1) -> Tensor:
        """Norm over `axis`, the channels of `x`; same shape.

        The channels go last meanwhile: LayerNorm knows only trailing axes.
        """
        last = x.transpose(axis, -1)
        doubled = functional.layer_norm(torch.cat((last, -last), dim=-1), (2 * self._width,), eps=self.eps)
        normed = doubled[..., : self._width]
        return (normed if self.weight is None else normed * self.weight).transpose(axis, -1)


def root_mean_square(x: Tensor) -> Tensor:
    """Root mean square over the channels, ``[batch, channel, 1, token]`` to ``[batch, 1, 1, token]``.

    Numbers are divided by the largest before they are squared: 256 squared overflows float16.
    """
    largest = x.abs().amax(dim=1, keepdim=True).clamp_min(LEAST_SCALE)
    return largest * (x / largest).square().mean(dim=1, keepdim=True).sqrt()


def gelu(x: Tensor) -> Tensor:
    """Tanh form of GELU, any shape (arXiv 1606.08415)."""
    return functional.gelu(x, approximate="tanh")
