"""Blocks of MobileNetV5, of maps ``[image, channel, height, width]`` (arXiv 2404.10518)."""

from __future__ import annotations

from torch import Tensor, nn

from implementations.gemma3n.mobilenet import EPS, Attention, Edge, Inverted, Placed
from implementations.onnx.operations.layers import GroupedNorm, gelu
from implementations.onnx.vision.attention import MultiQueryAttention
from implementations.onnx.vision.layers import CHANNELS, Convolution, ConvolutionNorm, LayerScale
from parity.tap import Tap


class EdgeBlock(nn.Module):
    """A full convolution widens, a 1 x 1 convolution narrows (arXiv 2104.00298)."""

    def __init__(self, placed: Placed, edge: Edge) -> None:
        super().__init__()
        self.conv_exp = Convolution(placed.inputs, placed.middle, edge.kernel, stride=edge.stride)
        self.bn1 = GroupedNorm(placed.middle, EPS, axis=CHANNELS)
        self.conv_pwl = Convolution(placed.middle, placed.outputs)
        self.bn2 = GroupedNorm(placed.outputs, EPS, axis=CHANNELS)
        self._skips = placed.skips

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, channel, height, width]``."""
        wide = tap("bn1", self.bn1(tap("conv_exp", self.conv_exp(x))))
        wide = tap("bn1.act", gelu(wide))
        narrow = tap("bn2", self.bn2(tap("conv_pwl", self.conv_pwl(wide))))
        return tap("out", x + narrow if self._skips else narrow)


class InvertedBlock(nn.Module):
    """A 1 x 1 convolution widens, another narrows; depthwise ones may stand before either.

    Args:
        placed: the block and its channels.
        inverted: its kernels. The stride is the second depthwise convolution's.
        scaled: whether the branch has a layer scale.
    """

    def __init__(self, placed: Placed, inverted: Inverted, *, scaled: bool = True) -> None:
        super().__init__()
        inputs, middle, outputs = placed.inputs, placed.middle, placed.outputs
        parts = {}
        if inverted.start:
            parts["dw_start"] = _depthwise(inputs, inverted.start, linear=True)
        parts["pw_exp"] = ConvolutionNorm(Convolution(inputs, middle), middle)
        if inverted.middle:
            parts["dw_mid"] = _depthwise(middle, inverted.middle, stride=inverted.stride)
        parts["pw_proj"] = ConvolutionNorm(Convolution(middle, outputs), outputs, linear=True)
        for name, part in parts.items():
            self.add_module(name, part)
        self._parts, self._skips = tuple(parts), placed.skips
        self.layer_scale = LayerScale(outputs) if scaled else None

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, channel, height, width]``."""
        branch = x
        for name in self._parts:
            branch = self.get_submodule(name)(branch, tap=tap.into(name))
        if self.layer_scale is not None:
            branch = tap("layer_scale", self.layer_scale(branch))
        return tap("out", x + branch if self._skips else branch)


class AttentionBlock(nn.Module):
    """``x + gamma * attention(norm(x))``."""

    def __init__(self, placed: Placed, attention: Attention) -> None:
        super().__init__()
        self.norm = GroupedNorm(placed.inputs, EPS, axis=CHANNELS)
        self.attn = MultiQueryAttention(placed.inputs, attention)
        self.layer_scale = LayerScale(placed.outputs)

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, channel, height, width]``; same shape."""
        attended = self.attn(tap("norm", self.norm(x)), tap=tap.into("attn"))
        return tap("out", x + tap("layer_scale", self.layer_scale(attended)))


def block(placed: Placed) -> nn.Module:
    """The module of one block of a tower."""
    match placed.block:
        case Edge() as edge:
            return EdgeBlock(placed, edge)
        case Inverted() as inverted:
            return InvertedBlock(placed, inverted)
        case Attention() as attention:
            return AttentionBlock(placed, attention)


def _depthwise(channels: int, kernel: int, *, stride: int = 1, linear: bool = False) -> ConvolutionNorm:
    """Each channel is convolved by itself."""
    convolution = Convolution(channels, channels, kernel, stride=stride, groups=channels)
    return ConvolutionNorm(convolution, channels, linear=linear)
