"""Subsampling of mel features: two strided convolutions, each with a norm over what was heard so far, and a projection.

Feature maps have the axes ``clip, channel, frame, mel``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from implementations.gemma3n.audio_config import Pair
from implementations.gemma3n.config import AudioConfig
from parity.tap import Tap


class CumulativeGroupNorm(nn.Module):
    """Group norm of one group (arXiv 1803.08494), with moments of each frame and all before it; a gain, no bias."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self._eps = eps

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Norm ``[clip, channel, frame, mel]``; same shape. Moments are ``[clip, frame, 1, 1]``."""
        centred = x - tap("cum_mean", running_mean(x)).transpose(1, 2)
        variance = tap("cum_variance", running_mean(centred.square())).transpose(1, 2)
        return centred / torch.sqrt(variance + self._eps) * self.weight.reshape(-1, 1, 1)


class Convolution(nn.Module):
    """A strided convolution, its norm and a rectifier (reference: `Gemma3nAudioSSCPConvBlock`)."""

    def __init__(self, channels: Pair, kernel: Pair, stride: Pair, eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(*channels, kernel, stride, bias=False)
        self.norm = CumulativeGroupNorm(channels[1], eps)
        # A band on either side, and frames behind alone, so that an output stands where its kernel begins.
        self._padding = (1, 1, 0, kernel[0] - 1)

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[clip, channel, frame, mel]``; returns ``[clip, channel', ceil(frame / stride), mel']``."""
        x = tap("conv", self.conv(functional.pad(x, self._padding)))
        normed = tap("normed", self.norm(x, tap=tap.into("norm")))
        return tap("out", torch.relu(normed))


class Subsample(nn.Module):
    """Mel features to one vector every few frames."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        first, second = config.sscp_conv_channel_size
        channels = (1, first), (first, second)
        kernels, strides = config.sscp_conv_kernel_size, config.sscp_conv_stride_size
        self.conv_0, self.conv_1 = (
            Convolution(*shape, config.sscp_conv_group_norm_eps)
            for shape in zip(channels, kernels, strides, strict=True)
        )
        self.input_proj_linear = nn.Linear(config.bands[1] * second, config.hidden_size, bias=False)

    def forward(self, mel: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[clip, frame, mel]``; returns ``[clip, frame', hidden]``."""
        x = self.conv_0(mel.unsqueeze(1), tap=tap.into("conv_0"))
        x = self.conv_1(x, tap=tap.into("conv_1"))
        flattened = tap("flattened", x.permute(0, 2, 3, 1).flatten(2))
        return tap("out", self.input_proj_linear(flattened))


def running_mean(x: Tensor) -> Tensor:
    """Means over channels and bands of each frame of ``[clip, channel, frame, mel]`` and all frames before it.

    All is added in float64, for a runtime may add one after the other. In float32 that is off by a hundred units of
    roundoff behind the 1,500 frames of half a minute, and by six floors in a single frame of ONNX Runtime's.

    Returns:
        ``[clip, frame, 1, 1]``.
    """
    of_frames = x.transpose(1, 2).flatten(2).double().mean(dim=2)  # `mean(dtype=...)` is exported as a mean in float32
    count = torch.arange(1, x.shape[2] + 1, dtype=torch.float64)
    means = torch.cumsum(of_frames, dim=1) / count
    return means.to(x.dtype)[:, :, None, None]
