"""Convolutions with SAME padding, and the norm and activation behind them.

Feature maps stand in MLX's order ``image height width channel``; the contract's is ``image channel height width``.
"""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module

from implementations.gemma3n.mobilenet import EPS, same_padding
from implementations.mlx.operations.layers import RMSNorm, gelu
from parity.tap import Tap


class Convolution(Module):
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
        super().__init__()
        self.weight = mx.zeros((outputs, kernel, kernel, inputs // groups))
        if bias:
            self.bias = mx.zeros((outputs,))
        self._kernel, self._stride, self._groups = kernel, stride, groups

    def __call__(self, x: mx.array) -> mx.array:
        """Run on ``[image, height, width, inputs]``; returns ``[image, ceil(height / stride), ..., outputs]``."""
        rows, columns = (same_padding(size, self._kernel, self._stride) for size in x.shape[1:3])
        before, behind = (list(pair) for pair in zip(rows, columns, strict=True))
        convolved = mx.conv_general(x, self.weight, stride=self._stride, padding=(before, behind), groups=self._groups)
        return convolved + self.bias if "bias" in self else convolved


class ConvolutionNorm(Module):
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

    def __call__(self, x: mx.array, *, tap: Tap) -> mx.array:
        """Run on ``[image, height, width, inputs]``."""
        x = tap("conv", self.conv(x))
        x = tap("bn", self.bn(x))
        return x if self._linear else tap("bn.act", gelu(x))


def depthwise(channels: int, kernel: int, *, stride: int = 1, linear: bool = False) -> ConvolutionNorm:
    """Each channel convolved by itself, normed, and activated unless `linear`."""
    return ConvolutionNorm(channels, channels, linear=linear, kernel=kernel, stride=stride, groups=channels)
