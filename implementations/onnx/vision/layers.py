"""The layers of which the towers' blocks are made. Feature maps have the axes ``image, channel, height, width``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from implementations.gemma3n.mobilenet import EPS, same_padding
from implementations.onnx.operations.layers import GroupedNorm, gelu
from parity.tap import Tap

CHANNELS = -3
"""The axis of a map's channels."""


class LayerScale(nn.Module):
    """A learned gain for each channel of a branch (arXiv 2103.17239)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``[image, channel, height, width]``; same shape."""
        return x * self.gamma.reshape(-1, 1, 1)


class Convolution(nn.Conv2d):
    """A convolution with SAME padding: of an axis of n pixels it makes ``ceil(n / stride)``.

    Height and width are constants of an exported graph, for the padding follows from them; the number of images is not.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, bias: bool = False
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=bias)
        self._kernel, self._stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """Run on ``[image, inputs, height, width]``; returns ``[image, outputs, height', width']``."""
        rows, columns = (same_padding(x.shape[axis], self._kernel, self._stride) for axis in (2, 3))
        if rows[0] == rows[1] and columns[0] == columns[1]:
            padding = rows[0], columns[0]
        else:  # ONNX's operator knows sides that differ, torch's does not
            x, padding = functional.pad(x, (*columns, *rows)), (0, 0)
        return functional.conv2d(x, self.weight, self.bias, self._stride, padding, groups=self.groups)


class ConvolutionNorm(nn.Module):
    """A convolution, the norm that the checkpoint calls ``bn``, and, unless `linear`, the tanh form of GELU.

    Args:
        convolution: makes `channels` channels.
        channels: of the norm.
        linear: whether there is no activation.
    """

    def __init__(self, convolution: Convolution, channels: int, *, linear: bool = False) -> None:
        super().__init__()
        self.conv = convolution
        self.bn = GroupedNorm(channels, EPS, axis=CHANNELS)
        self._linear = linear

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, inputs, height, width]``; returns ``[image, channels, height', width']``."""
        normed = tap("bn", self.bn(tap("conv", self.conv(x))))
        return normed if self._linear else tap("bn.act", gelu(normed))
