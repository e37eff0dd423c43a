"""Conformer blocks (arXiv 2005.08100): half a feed-forward, attention, light convolution, half a feed-forward."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from implementations.ane.audio.attention import LocalAttention
from implementations.ane.audio.host import Tables
from implementations.ane.engine.layers import Projection, RMSNorm
from implementations.gemma3n.config import AudioConfig
from parity.tap import Tap

EPS = 1e-6
"""Epsilon of all norms but the light convolution's, whose is the configuration's."""


class FeedForward(nn.Module):
    """``x + weight * norm(W2 silu(W1 norm(x)))``."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.pre_layer_norm = RMSNorm(hidden, EPS)
        self.ffw_layer_1 = Projection(hidden, 4 * hidden)
        self.ffw_layer_2 = Projection(4 * hidden, hidden)
        self.post_layer_norm = RMSNorm(hidden, EPS)
        self._weight, self._bound = config.conf_residual_weight, config.gradient_clipping

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[clip, hidden, 1, frame]``; same shape."""
        normed = tap("pre_layer_norm", self.pre_layer_norm(clip(x, self._bound)))
        wide = tap("ffw_layer_1", self.ffw_layer_1(normed))
        wide = tap("activation", functional.silu(wide))
        added = tap("ffw_layer_2", self.ffw_layer_2(wide))
        added = tap("post_layer_norm", self.post_layer_norm(clip(added, self._bound)))
        return tap("out", x + added * self._weight)


class Attention(nn.Module):
    """``x + norm(W attention(norm(x)))``."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.pre_attn_norm = RMSNorm(hidden, EPS)
        self.attn = LocalAttention(config)
        self.post = Projection(hidden, hidden)
        self.post_norm = RMSNorm(hidden, EPS)
        self._bound = config.gradient_clipping

    def forward(self, x: Tensor, tables: Tables, *, tap: Tap) -> Tensor:
        """Run on ``[clip, hidden, 1, frame]``; same shape."""
        normed = tap("pre_attn_norm", self.pre_attn_norm(clip(x, self._bound)))
        projected = tap("post", self.post(self.attn(normed, tables, tap=tap.into("attn"))))
        return tap("out", x + self.post_norm(clip(projected, self._bound)))


class Depthwise(nn.Conv2d):
    """A causal convolution in time, one kernel a channel, on ``[clip, channel, 1, frame]``."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, channels, kernel_size=(1, kernel), groups=channels, bias=False)
        self._before = kernel - 1

    def forward(self, x: Tensor) -> Tensor:
        """Same shape: zeros stand before the first frame."""
        return super().forward(functional.pad(x, (self._before, 0)))


class LightConvolution(nn.Module):
    """``x + W2 silu(norm(conv(glu(W1 norm(x)))))``, with a gated linear unit (arXiv 1612.08083)."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.pre_layer_norm = RMSNorm(hidden, config.rms_norm_eps)
        self.linear_start = Projection(hidden, 2 * hidden)
        self.depthwise_conv1d = Depthwise(hidden, config.conf_conv_kernel_size)
        self.conv_norm = RMSNorm(hidden, config.rms_norm_eps)
        self.linear_end = Projection(hidden, hidden)
        self._bound = config.gradient_clipping

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[clip, hidden, 1, frame]``; same shape."""
        normed = tap("pre_layer_norm", self.pre_layer_norm(x))
        values, gates = tap("linear_start", self.linear_start(normed)).chunk(2, dim=1)
        gated = tap("glu", values * torch.sigmoid(gates))
        mixed = tap("depthwise_conv1d", self.depthwise_conv1d(gated))
        mixed = tap("conv_norm", self.conv_norm(clip(mixed, self._bound)))
        mixed = tap("activation", functional.silu(mixed))
        return tap("out", x + tap("linear_end", self.linear_end(mixed)))


class Block(nn.Module):
    """A conformer block."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.ffw_layer_start = FeedForward(config)
        self.attention = Attention(config)
        self.lconv1d = LightConvolution(config)
        self.ffw_layer_end = FeedForward(config)
        self.norm = RMSNorm(config.hidden_size, EPS)
        self._bound = config.gradient_clipping

    def forward(self, x: Tensor, tables: Tables, *, tap: Tap) -> Tensor:
        """Run on ``[clip, hidden, 1, frame]``; same shape."""
        x = self.ffw_layer_start(x, tap=tap.into("ffw_layer_start"))
        x = self.attention(x, tables, tap=tap.into("attention"))
        x = tap("masked", x * tables.valid)
        x = self.lconv1d(x, tap=tap.into("lconv1d"))
        x = self.ffw_layer_end(x, tap=tap.into("ffw_layer_end"))
        return tap("out", self.norm(clip(x, self._bound)))


def clip(x: Tensor, bound: float) -> Tensor:
    """`x` within ±`bound`, any shape; an infinite bound is no operation."""
    return x if math.isinf(bound) else x.clamp(-bound, bound)
