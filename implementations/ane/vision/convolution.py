"""Convolutions with SAME padding, and the norm and activation behind them, on ``[image, channel, height, width]``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from implementations.ane.engine.layers import RMSNorm, gelu
from implementations.gemma3n.mobilenet import EPS, same_padding
from parity.tap import Tap


class Convolution(nn.Conv2d):
    """A convolution that gives ``ceil(size / stride)`` rows and columns.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        kernel: side of the kernel.
        stride: step of the kernel in both directions.
        groups: `inputs` for a depthwise convolution.
        bias: whether a bias is added.
    """

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, bias: bool = False
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=bias)
        self._kernel, self._stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """Run on ``[image, inputs, height, width]``; returns ``[image, outputs, ceil(height / stride), ...]``.

        A convolution pads both sides of an axis alike: what the far side needs more is padded before.
        """
        (top, bottom), (left, right) = (same_padding(size, self._kernel, self._stride) for size in sides(x))
        if bottom > top or right > left:
            x = functional.pad(x, (0, right - left, 0, bottom - top))
        return torch.conv2d(x, self.weight, self.bias, self._stride, (top, left), groups=self.groups)


class ConvolutionNorm(nn.Module):
    """Convolution, RMSNorm over channels (the checkpoint's ``bn``) and, unless `linear`, GELU.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        linear: whether there is no activation.
        kernel: side of the kernel.
        stride: of the convolution.
        groups: of the convolution.
        bias: of the convolution.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        linear: bool = False,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = Convolution(inputs, outputs, kernel=kernel, stride=stride, groups=groups, bias=bias)
        self.bn = RMSNorm(outputs, EPS)
        self._linear = linear

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, inputs, height, width]``."""
        x = tap("conv", self.conv(x))
        x = tap("bn", self.bn(x))
        return x if self._linear else tap("bn.act", gelu(x))


def depthwise(channels: int, kernel: int, *, stride: int = 1, linear: bool = False) -> ConvolutionNorm:
    """Each channel convolved by itself, normed, and activated unless `linear`."""
    return ConvolutionNorm(channels, channels, linear=linear, kernel=kernel, stride=stride, groups=channels)


def sides(x: Tensor) -> tuple[int, int]:
    """Height and width of ``[image, channel, height, width]``.

    A compiled program has one size: as Python's integers they are its constants, where a trace would compute them.
    """
    return int(x.shape[2]), int(x.shape[3])
