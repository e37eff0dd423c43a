"""Blocks of MobileNetV5 on maps ``[image, height, width, channel]`` (arXiv 2404.10518)."""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module

from implementations.gemma3n.mobilenet import EPS, Attention, Edge, Inverted, Placed
from implementations.mlx.operations.layers import RMSNorm, gelu
from implementations.mlx.vision.attention import MultiQueryAttention
from implementations.mlx.vision.convolution import Convolution, ConvolutionNorm, depthwise
from parity.tap import Tap


class LayerScale(Module):
    """A learned gain per channel, which keeps a deep residual stream tame (arXiv 2103.17239)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = mx.ones((channels,))

    def __call__(self, x: mx.array) -> mx.array:
        """Scale ``[..., channel]``."""
        return x * self.gamma


class EdgeResidual(Module):
    """Fused inverted residual (arXiv 2104.00298): a full convolution expands, a 1 x 1 convolution projects."""

    def __init__(self, placed: Placed, block: Edge) -> None:
        super().__init__()
        self.conv_exp = Convolution(placed.inputs, placed.middle, kernel=block.kernel, stride=block.stride)
        self.bn1 = RMSNorm(placed.middle, EPS)
        self.conv_pwl = Convolution(placed.middle, placed.outputs)
        self.bn2 = RMSNorm(placed.outputs, EPS)
        self._skips = placed.skips

    def __call__(self, x: mx.array, *, tap: Tap) -> mx.array:
        """Run on ``[image, height, width, channel]``."""
        wide = tap("conv_exp", self.conv_exp(x))
        wide = tap("bn1", self.bn1(wide))
        wide = tap("bn1.act", gelu(wide))
        narrow = tap("conv_pwl", self.conv_pwl(wide))
        narrow = tap("bn2", self.bn2(narrow))
        return tap("out", narrow + x if self._skips else narrow)


class InvertedResidual(Module):
    """Universal inverted residual: depthwise, 1 x 1 expansion, depthwise, 1 x 1 projection.

    The first depthwise convolution and the projection are linear. With both depthwise convolutions, the second has the
    stride: the published tower has no other strided block of this kind.

    Args:
        placed: the block and its channels.
        block: its kernels.
        scaled: whether the branch has a layer scale.
    """

    def __init__(self, placed: Placed, block: Inverted, *, scaled: bool = True) -> None:
        super().__init__()
        self._starts, self._has_middle, self._scaled = bool(block.start), bool(block.middle), scaled
        if block.start:
            self.dw_start = depthwise(placed.inputs, block.start, linear=True)
        self.pw_exp = ConvolutionNorm(placed.inputs, placed.middle)
        if block.middle:
            self.dw_mid = depthwise(placed.middle, block.middle, stride=block.stride)
        self.pw_proj = ConvolutionNorm(placed.middle, placed.outputs, linear=True)
        if scaled:
            self.layer_scale = LayerScale(placed.outputs)
        self._skips = placed.skips

    def __call__(self, x: mx.array, *, tap: Tap) -> mx.array:
        """Run on ``[image, height, width, channel]``."""
        branch = self.dw_start(x, tap=tap.into("dw_start")) if self._starts else x
        branch = self.pw_exp(branch, tap=tap.into("pw_exp"))
        if self._has_middle:
            branch = self.dw_mid(branch, tap=tap.into("dw_mid"))
        branch = self.pw_proj(branch, tap=tap.into("pw_proj"))
        if self._scaled:
            branch = tap("layer_scale", self.layer_scale(branch))
        return tap("out", branch + x if self._skips else branch)


class AttentionResidual(Module):
    """``x + gamma * attention(norm(x))``."""

    def __init__(self, placed: Placed, block: Attention) -> None:
        super().__init__()
        self.norm = RMSNorm(placed.inputs, EPS)
        self.attn = MultiQueryAttention(placed.inputs, block)
        self.layer_scale = LayerScale(placed.outputs)

    def __call__(self, x: mx.array, *, tap: Tap) -> mx.array:
        """Run on ``[image, height, width, channel]``; same shape."""
        normed = tap("norm", self.norm(x))
        attended = self.attn(normed, tap=tap.into("attn"))
        scaled = tap("layer_scale", self.layer_scale(attended))
        return tap("out", scaled + x)


def build(placed: Placed) -> EdgeResidual | InvertedResidual | AttentionResidual:
    """The module of one block."""
    match placed.block:
        case Edge() as block:
            return EdgeResidual(placed, block)
        case Inverted() as block:
            return InvertedResidual(placed, block)
        case Attention() as block:
            return AttentionResidual(placed, block)
