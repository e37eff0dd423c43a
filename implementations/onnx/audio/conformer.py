"""Conformer blocks (arXiv 2005.08100), of frames ``[clip, frame, hidden]``. The names of parts are the checkpoint's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from implementations.gemma3n.config import AudioConfig
from implementations.onnx.audio.attention import LocalAttention
from implementations.onnx.audio.windows import Heard
from implementations.onnx.operations.layers import GroupedNorm
from parity.tap import Tap

EPS = 1e-6
"""Of every norm but the light convolution's, which have the configuration's."""


class FeedForward(nn.Module):
    """``x + weight * norm(W2 silu(W1 norm(x)))``."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.pre_layer_norm = GroupedNorm(hidden, EPS)
        self.ffw_layer_1 = nn.Linear(hidden, 4 * hidden, bias=False)
        self.ffw_layer_2 = nn.Linear(4 * hidden, hidden, bias=False)
        self.post_layer_norm = GroupedNorm(hidden, EPS)
        self._weight, self._bound = config.conf_residual_weight, config.gradient_clipping

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[clip, frame, hidden]``; same shape."""
        wide = tap("ffw_layer_1", self.ffw_layer_1(tap("pre_layer_norm", self.pre_layer_norm(clip(x, self._bound)))))
        narrow = tap("ffw_layer_2", self.ffw_layer_2(tap("activation", functional.silu(wide))))
        normed = tap("post_layer_norm", self.post_layer_norm(clip(narrow, self._bound)))
        return tap("out", x + normed * self._weight)


class Attention(nn.Module):
    """``x + norm(W attention(norm(x)))``."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.pre_attn_norm = GroupedNorm(hidden, EPS)
        self.attn = LocalAttention(config)
        self.post = nn.Linear(hidden, hidden, bias=False)
        self.post_norm = GroupedNorm(hidden, EPS)
        self._bound = config.gradient_clipping

    def forward(self, x: Tensor, heard: Heard, *, tap: Tap) -> Tensor:
        """Run on ``[clip, frame, hidden]``; same shape."""
        normed = tap("pre_attn_norm", self.pre_attn_norm(clip(x, self._bound)))
        context = self.attn(normed, heard, tap=tap.into("attn"))
        projected = tap("post", self.post(context.flatten(2)))
        return tap("out", x + self.post_norm(clip(projected, self._bound)))


class LightConvolution(nn.Module):
    """``x + W2 silu(norm(conv(values * sigmoid(gates))))``, both of them ``W1 norm(x)`` (arXiv 1612.08083)."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden, kernel = config.hidden_size, config.conf_conv_kernel_size
        self.pre_layer_norm = GroupedNorm(hidden, config.rms_norm_eps)
        self.linear_start = nn.Linear(hidden, 2 * hidden, bias=False)
        self.depthwise_conv1d = nn.Conv1d(hidden, hidden, kernel, groups=hidden, bias=False)
        self.conv_norm = GroupedNorm(hidden, config.rms_norm_eps)
        self.linear_end = nn.Linear(hidden, hidden, bias=False)
        self._before, self._bound = kernel - 1, config.gradient_clipping

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[clip, frame, hidden]``; same shape."""
        started = tap("linear_start", self.linear_start(tap("pre_layer_norm", self.pre_layer_norm(x))))
        values, gates = started.chunk(2, dim=-1)
        mixed = tap("depthwise_conv1d", self._convolved(tap("glu", values * torch.sigmoid(gates))))
        normed = tap("conv_norm", self.conv_norm(clip(mixed, self._bound)))
        ended = tap("linear_end", self.linear_end(tap("activation", functional.silu(normed))))
        return tap("out", x + ended)

    def _convolved(self, x: Tensor) -> Tensor:
        """Each channel in time, where no frame sees a later one."""
        padded = functional.pad(x.transpose(1, 2), (self._before, 0))
        return self.depthwise_conv1d(padded).transpose(1, 2)


class Block(nn.Module):
    """Half a feed-forward, attention, light convolution, half a feed-forward, norm."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.ffw_layer_start = FeedForward(config)
        self.attention = Attention(config)
        self.lconv1d = LightConvolution(config)
        self.ffw_layer_end = FeedForward(config)
        self.norm = GroupedNorm(config.hidden_size, EPS)
        self._bound = config.gradient_clipping

    def forward(self, x: Tensor, heard: Heard, *, tap: Tap) -> Tensor:
        """Run on ``[clip, frame, hidden]``; same shape."""
        x = self.ffw_layer_start(x, tap=tap.into("ffw_layer_start"))
        x = self.attention(x, heard, tap=tap.into("attention"))
        x = tap("masked", torch.where(heard.valid, x, 0.0))
        x = self.lconv1d(x, tap=tap.into("lconv1d"))
        x = self.ffw_layer_end(x, tap=tap.into("ffw_layer_end"))
        return tap("out", self.norm(clip(x, self._bound)))


def clip(x: Tensor, bound: float) -> Tensor:
    """`x` within ±`bound`, any shape."""
    return x.clamp(-bound, bound)
