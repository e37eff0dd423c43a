"""Local attention with relative positions (arXiv 1901.02860) and soft-capped scores (arXiv 2408.00118)."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
from mlx.nn.layers.base import Module

from implementations.gemma3n.config import AudioConfig
from implementations.mlx.audio.local import Locality, Masks
from implementations.mlx.operations.layers import Linear
from parity.tap import Tap

SLOWEST = 1e-4
"""Radians a frame of the last sine; the first has 1."""
UNIT = 1 / math.log(2)
"""1 / softplus(0): an untrained scale of zero leaves queries as they are."""


class RelativePositionEmbedding(Module):
    """Scores of queries with keys and with their distances."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.pos_proj = Linear(config.hidden_size, config.hidden_size, bias=False)
        self._heads = config.conf_num_attention_heads
        self._signal = timing_signal(Locality.of(config), config.hidden_size)

    def __call__(self, queries: mx.array, keys: mx.array, locality: Locality, *, tap: Tap) -> mx.array:
        """Scores of the blocks' queries.

        Args:
            queries: ``[clip, block, query, head, head_dim]``.
            keys: of each block's context, ``[clip, block, key, head, head_dim]``.
            locality: how frames are cut.
            tap: where steps go.

        Returns:
            ``[clip, head, block, query, key]``.
        """
        signal = tap("timing_signal", self._signal.astype(queries.dtype))
        distances = mx.unflatten(self.pos_proj(signal), -1, (self._heads, -1))
        distances = tap("pos_proj", mx.squeeze(distances, 0))
        by_head = queries.transpose(0, 3, 1, 2, 4)
        content = tap("content", by_head @ keys.transpose(0, 3, 1, 4, 2))
        position = tap("position", by_head @ mx.expand_dims(distances.transpose(1, 2, 0), 1))
        return content + tap("position_shifted", locality.shift(position))


class LocalAttention(Module):
    """Attention of each frame to a few before and behind it."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.q_proj = Linear(hidden, hidden, bias=False)
        self.k_proj = Linear(hidden, hidden, bias=False)
        self.v_proj = Linear(hidden, hidden, bias=False)
        self.per_dim_scale = mx.zeros((config.head_dim,))
        self.relative_position_embedding = RelativePositionEmbedding(config)
        self._heads, self._cap = config.conf_num_attention_heads, config.conf_attention_logit_cap
        self._scale = config.head_dim**-0.5 * UNIT

    def __call__(self, x: mx.array, masks: Masks, *, tap: Tap) -> mx.array:
        """Run on normed frames ``[clip, frame, hidden]``; returns ``[clip, frame, head, head_dim]``."""
        queries, keys, values = self._projected(x, tap)
        queries = tap("q_blocks", masks.locality.blocks(self._scaled(queries, tap)))
        keys = tap("k_blocks", masks.locality.contexts(keys))
        values = tap("v_blocks", masks.locality.contexts(values))
        visible = tap("mask", masks.visible)
        position = tap.into("relative_position_embedding")
        scores = tap("scores", self.relative_position_embedding(queries, keys, masks.locality, tap=position))
        probabilities = tap("probabilities", self._weigh(scores, visible, tap))
        mixed = probabilities.swapaxes(1, 2) @ values.swapaxes(2, 3)  # clip block head query head_dim
        frames = mx.flatten(mixed.swapaxes(2, 3), 1, 2)
        return tap("context", frames[:, : x.shape[1]])

    def _projected(self, x: mx.array, tap: Tap) -> list[mx.array]:
        projections = {"q_proj": self.q_proj, "k_proj": self.k_proj, "v_proj": self.v_proj}
        return [tap(name, mx.unflatten(project(x), -1, (self._heads, -1))) for name, project in projections.items()]

    def _scaled(self, queries: mx.array, tap: Tap) -> mx.array:
        """Queries times the learned scales, ``log(1 + exp(s))``; factors are multiplied in float32."""
        learned = mx.logaddexp(self.per_dim_scale.astype(mx.float32), 0)
        learned = tap("per_dim_scale", learned.astype(queries.dtype))
        factor = learned.astype(mx.float32) * self._scale
        return tap("q_scaled", (queries * factor).astype(queries.dtype))

    def _weigh(self, scores: mx.array, visible: mx.array, tap: Tap) -> mx.array:
        """Softmax of capped scores over the visible keys, in float32.

        Hidden keys get the least finite number, not minus infinity: a query that sees no key then weighs all alike,
        where infinities would give NaN.
        """
        capped = mx.tanh(scores.astype(mx.float32) / self._cap) * self._cap
        capped = tap("logits", capped.astype(scores.dtype)).astype(mx.float32)
        hidden = mx.where(visible[:, None], capped, mx.finfo(mx.float32).min)
        return mx.softmax(hidden, axis=-1).astype(scores.dtype)


def timing_signal(locality: Locality, channels: int) -> mx.array:
    """Sines and cosines of the distances, ``[1, distance, channels]``, float32 (arXiv 1706.03762).

    Distances run from the farthest key before a query down to the last one ahead of it, which is negative. Tables are
    made in float64: exp in float32 would be off by some units of roundoff, and a distance multiplies that.
    """
    distances = np.arange(locality.past, -locality.future - 1, -1, dtype=np.float64)
    rates = SLOWEST ** (np.arange(channels // 2) / max(channels // 2 - 1, 1))
    angles = distances[:, None] * rates
    return mx.array(np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)[None].astype(np.float32))
