"""Subsampling: two strided convolutions with a cumulative group norm each, and a projection.

Feature maps stand in MLX's order ``clip frame mel channel``; the contract's is ``clip channel frame mel``.
"""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.convolution import Conv2d

from implementations.gemma3n.audio_config import Pair
from implementations.gemma3n.config import AudioConfig
from implementations.mlx.operations.layers import ON_CPU, Linear, mean
from parity.tap import Tap


class CumulativeGroupNorm(Module):
    """Group norm with one group whose moments run over all frames up to the present one (arXiv 1803.08494).

    So a frame's result depends on no later frame. There is a gain for each channel and no bias.
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = mx.ones((channels,))
        self._eps = eps

    def __call__(self, x: mx.array, *, tap: Tap) -> mx.array:
        """Norm ``[clip, frame, mel, channel]``; moments in float32, the result in x's dtype.

        The moments are the contract's ``[clip, frame, 1, 1]`` in both layouts.
        """
        wide = x.astype(mx.float32)
        centre = tap("cum_mean", _running_mean(wide))
        centred = wide - centre
        variance = tap("cum_variance", _running_mean(mx.square(centred)))
        scaled = centred * mx.rsqrt(variance + self._eps) * self.weight.astype(mx.float32)
        return scaled.astype(x.dtype)


class Convolution(Module):
    """A strided convolution, its norm and a rectifier."""

    def __init__(self, channels: Pair, kernel: Pair, stride: Pair, eps: float) -> None:
        super().__init__()
        self.conv = Conv2d(*channels, kernel_size=kernel, stride=stride, bias=False)
        self.norm = CumulativeGroupNorm(channels[1], eps)
        # Frames are padded behind alone, which lines each output up with the first frame under its kernel.
        self._padding = [(0, 0), (0, kernel[0] - 1), (1, 1), (0, 0)]

    def __call__(self, x: mx.array, *, tap: Tap) -> mx.array:
        """Run on ``[clip, frame, mel, channel]``."""
        x = tap("conv", self.conv(mx.pad(x, self._padding)))
        normed = tap("normed", self.norm(x, tap=tap.into("norm")))
        return tap("out", mx.maximum(normed, 0))


class Subsample(Module):
    """Mel features to one vector every few frames."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        first, second = config.sscp_conv_channel_size
        shapes = zip(
            ((1, first), (first, second)), config.sscp_conv_kernel_size, config.sscp_conv_stride_size, strict=True
        )
        self.conv_0, self.conv_1 = (Convolution(*shape, config.sscp_conv_group_norm_eps) for shape in shapes)
        self.input_proj_linear = Linear(config.bands[1] * second, config.hidden_size, bias=False)

    def __call__(self, mel: mx.array, *, tap: Tap) -> mx.array:
        """Run on ``[clip, frame, mel]``; returns ``[clip, frame', hidden]``."""
        x = self.conv_0(mel[..., None], tap=tap.into("conv_0"))
        x = self.conv_1(x, tap=tap.into("conv_1"))
        return tap("out", self.input_proj_linear(tap("flattened", mx.flatten(x, 2))))


def _running_mean(x: mx.array) -> mx.array:
    """Mean over each frame and all before it, ``[clip, frame, 1, 1]``, of a float32 ``[clip, frame, mel, channel]``."""
    of_frames = mean(mx.squeeze(mean(x), -1))
    count = mx.arange(1, x.shape[1] + 1, dtype=mx.float32)[:, None]
    return (_running_sum(of_frames) / count)[..., None]


def _running_sum(x: mx.array) -> mx.array:
    """Sum of a float32 ``[clip, frame, one]`` over each frame and all before it, by doubling strides.

    MLX's CPU adds one frame after the other: within the 30 s of a clip the variance would be off by a hundred units of
    roundoff. Here each sum is a tree of log2(frames) levels. GPU kernels scan in a tree.
    """
    if not ON_CPU:
        return mx.cumsum(x, axis=1)
    stride = 1
    while stride < x.shape[1]:
        x = x + mx.pad(x[:, :-stride], [(0, 0), (stride, 0), (0, 0)])
        stride *= 2
    return x
