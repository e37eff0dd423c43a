"""Conformer blocks (arXiv 2005.08100): half a feed-forward, attention, light convolution, half a feed-forward."""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.convolution import Conv1d

from implementations.gemma3n.config import AudioConfig
from implementations.mlx.audio.attention import LocalAttention
from implementations.mlx.audio.local import Masks
from implementations.mlx.operations.layers import Linear, RMSNorm, fused
from parity.tap import Tap

EPS = 1e-6
"""Epsilon of all norms but the light convolution's, whose is the configuration's."""


class FeedForward(Module):
    """``x + weight * norm(W2 silu(W1 norm(x)))``."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.pre_layer_norm = RMSNorm(hidden, EPS)
        self.ffw_layer_1 = Linear(hidden, 4 * hidden, bias=False)
        self.ffw_layer_2 = Linear(4 * hidden, hidden, bias=False)
        self.post_layer_norm = RMSNorm(hidden, EPS)
        self._weight, self._bound = config.conf_residual_weight, config.gradient_clipping

    def __call__(self, x: mx.array, *, tap: Tap) -> mx.array:
        """Run on ``[clip, frame, hidden]``; same shape."""
        normed = tap("pre_layer_norm", self.pre_layer_norm(clip(x, self._bound)))
        wide = tap("ffw_layer_1", self.ffw_layer_1(normed))
        wide = tap("activation", silu(wide))
        added = tap("ffw_layer_2", self.ffw_layer_2(wide))
        added = tap("post_layer_norm", self.post_layer_norm(clip(added, self._bound)))
        return tap("out", x + added * self._weight)


class Attention(Module):
    """``x + norm(W attention(norm(x)))``."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.pre_attn_norm = RMSNorm(hidden, EPS)
        self.attn = LocalAttention(config)
        self.post = Linear(hidden, hidden, bias=False)
        self.post_norm = RMSNorm(hidden, EPS)
        self._bound = config.gradient_clipping

    def __call__(self, x: mx.array, masks: Masks, *, tap: Tap) -> mx.array:
        """Run on ``[clip, frame, hidden]``; same shape."""
        normed = tap("pre_attn_norm", self.pre_attn_norm(clip(x, self._bound)))
        context = self.attn(normed, masks, tap=tap.into("attn"))
        projected = tap("post", self.post(mx.flatten(context, 2)))
        return tap("out", x + self.post_norm(clip(projected, self._bound)))


class LightConvolution(Module):
    """``x + W2 silu(norm(conv(glu(W1 norm(x)))))``: a gated convolution in time, causal, one kernel a channel."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden, kernel = config.hidden_size, config.conf_conv_kernel_size
        self.pre_layer_norm = RMSNorm(hidden, config.rms_norm_eps)
        self.linear_start = Linear(hidden, 2 * hidden, bias=False)
        self.depthwise_conv1d = Conv1d(hidden, hidden, kernel_size=kernel, groups=hidden, bias=False)
        self.conv_norm = RMSNorm(hidden, config.rms_norm_eps)
        self.linear_end = Linear(hidden, hidden, bias=False)
        self._padding = [(0, 0), (kernel - 1, 0), (0, 0)]
        self._bound = config.gradient_clipping

    def __call__(self, x: mx.array, *, tap: Tap) -> mx.array:
        """Run on ``[clip, frame, hidden]``; same shape."""
        normed = tap("pre_layer_norm", self.pre_layer_norm(x))
        gated = tap("glu", glu(tap("linear_start", self.linear_start(normed))))
        mixed = tap("depthwise_conv1d", self.depthwise_conv1d(mx.pad(gated, self._padding)))
        mixed = tap("conv_norm", self.conv_norm(clip(mixed, self._bound)))
        mixed = tap("activation", silu(mixed))
        return tap("out", x + tap("linear_end", self.linear_end(mixed)))


class Block(Module):
    """A conformer block."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.ffw_layer_start = FeedForward(config)
        self.attention = Attention(config)
        self.lconv1d = LightConvolution(config)
        self.ffw_layer_end = FeedForward(config)
        self.norm = RMSNorm(config.hidden_size, EPS)
        self._bound = config.gradient_clipping

    def __call__(self, x: mx.array, masks: Masks, *, tap: Tap) -> mx.array:
        """Run on ``[clip, frame, hidden]``; same shape."""
        x = self.ffw_layer_start(x, tap=tap.into("ffw_layer_start"))
        x = self.attention(x, masks, tap=tap.into("attention"))
        x = tap("masked", mx.where(masks.valid[..., None], x, 0))
        x = self.lconv1d(x, tap=tap.into("lconv1d"))
        x = self.ffw_layer_end(x, tap=tap.into("ffw_layer_end"))
        return tap("out", self.norm(clip(x, self._bound)))


def clip(x: mx.array, bound: float) -> mx.array:
    """`x` within ±`bound`, any shape."""
    return mx.clip(x, -bound, bound)


@fused
def silu(x: mx.array) -> mx.array:
    """``x sigmoid(x)``, any shape, in x's dtype; computed in float32, rounded once (arXiv 1710.05941)."""
    wide = x.astype(mx.float32)
    return (wide * mx.sigmoid(wide)).astype(x.dtype)


def glu(x: mx.array) -> mx.array:
    """The first half of the last axis, each value gated by one of the second half (arXiv 1612.08083)."""
    return _gated(*mx.split(x, 2, axis=-1))


@fused
def _gated(values: mx.array, gates: mx.array) -> mx.array:
    return (values.astype(mx.float32) * mx.sigmoid(gates.astype(mx.float32))).astype(values.dtype)
