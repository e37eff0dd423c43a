"""Subsampling: two strided convolutions with a cumulative group norm each, and a projection.

Feature maps have the axes ``clip, channel, frame, mel``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from implementations.ane.engine.layers import Projection
from implementations.gemma3n.audio_config import Pair
from implementations.gemma3n.config import AudioConfig
from parity.tap import Tap


class CumulativeGroupNorm(nn.Module):
    """Group norm with one group whose moments run over all frames up to the present one (arXiv 1803.08494).

    So a frame's result depends on no later frame. There is a gain for each channel and no bias.
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self._eps = eps

    def forward(self, x: Tensor, running: Tensor, *, tap: Tap) -> Tensor:
        """Norm ``[clip, channel, frame, mel]``; `running` averages frames with those before, ``[frame, frame]``.

        Moments are means of means: the sum over a frame's 8,192 values alone would leave float16's range.
        """
        centre = tap("cum_mean", running @ _mean(x))
        centred = x - centre
        variance = tap("cum_variance", running @ _mean(centred.square()))
        return centred * torch.rsqrt(variance + self._eps) * self.weight[:, None, None]


def _mean(x: Tensor) -> Tensor:
    """Over channels and bands of ``[clip, channel, frame, mel]``, both kept; side by side they are one axis.

    Over two axes torch adds in order across channels, three times the error; one after the other they round twice.
    """
    return x.transpose(1, 2).flatten(2).mean(dim=2)[:, None, :, None]


class Convolution(nn.Module):
    """A strided convolution, its norm and a rectifier."""

    def __init__(self, channels: Pair, kernel: Pair, stride: Pair, eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(*channels, kernel_size=kernel, stride=stride, bias=False)
        self.norm = CumulativeGroupNorm(channels[1], eps)
        # Frames are padded behind alone, which lines each output up with the first frame under its kernel.
        self._padding = (1, 1, 0, kernel[0] - 1)

    def forward(self, x: Tensor, running: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[clip, channel, frame, mel]``; `running` is of the frames behind the convolution."""
        x = tap("conv", self.conv(functional.pad(x, self._padding)))
        normed = tap("normed", self.norm(x, running, tap=tap.into("norm")))
        return tap("out", torch.relu(normed))


class Subsample(nn.Module):
    """Mel features to one vector every few frames."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        first, second = config.sscp_conv_channel_size
        kernels, strides, eps = (
            config.sscp_conv_kernel_size,
            config.sscp_conv_stride_size,
            config.sscp_conv_group_norm_eps,
        )
        self.conv_0 = Convolution((1, first), kernels[0], strides[0], eps)
        self.conv_1 = Convolution((first, second), kernels[1], strides[1], eps)
        self.input_proj_linear = Projection(config.bands[1] * second, config.hidden_size)

    def forward(self, mel: Tensor, running: tuple[Tensor, Tensor], *, tap: Tap) -> Tensor:
        """Run on ``[clip, 1, frame, mel]``; returns ``[clip, hidden, 1, frame']``."""
        x = self.conv_0(mel, running[0], tap=tap.into("conv_0"))
        x = self.conv_1(x, running[1], tap=tap.into("conv_1"))
        clips, channels, frames, bands = x.shape
        flat = x.permute(0, 3, 1, 2).reshape(clips, bands * channels, 1, frames)
        return tap("out", self.input_proj_linear(tap("flattened", flat)))
