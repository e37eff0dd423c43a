"""Local attention with relative positions (arXiv 1901.02860) and soft-capped scores (arXiv 2408.00118).

No tensor has more than four axes: heads stand beside blocks where blocks meet their contexts,
``clip, head * block, query, key``, and blocks beside queries elsewhere, ``clip, head, block * query, key``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from implementations.ane.audio.host import Tables
from implementations.ane.audio.local import Locality
from implementations.ane.engine.layers import Projection
from implementations.ane.engine.limits import HIDDEN
from implementations.gemma3n.config import AudioConfig
from parity.tap import Tap

UNIT = 1 / math.log(2)
"""1 / softplus(0): an untrained scale of zero leaves queries as they are."""


class RelativePositionEmbedding(nn.Module):
    """Scores of queries with keys and with their distances."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.pos_proj = Projection(config.hidden_size, config.hidden_size)
        self._heads, self._locality = config.conf_num_attention_heads, Locality.of(config)

    def forward(self, queries: Tensor, keys: Tensor, timing: Tensor, *, tap: Tap) -> Tensor:
        """Scores of the blocks' queries.

        Args:
            queries: ``[clip, head * block, query, head_dim]``.
            keys: of each block's context, ``[clip, head * block, head_dim, key]``.
            timing: sines and cosines of the distances, ``[1, hidden, 1, distance]``.
            tap: where steps go.

        Returns:
            ``[clip, head, block * query, key]``.
        """
        clips, _, _, dim = queries.shape
        distances = tap("pos_proj", self.pos_proj(tap("timing_signal", timing)))
        distances = distances.reshape(1, self._heads, dim, distances.shape[3])
        by_head = queries.reshape(clips, self._heads, -1, dim)
        content = (queries @ keys).reshape(clips, self._heads, -1, keys.shape[3])
        content, position = tap("content", content), tap("position", by_head @ distances)
        return content + tap("position_shifted", self._locality.shift(position))


class LocalAttention(nn.Module):
    """Attention of each frame to a few before and behind it."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.q_proj = Projection(hidden, hidden)
        self.k_proj = Projection(hidden, hidden)
        self.v_proj = Projection(hidden, hidden)
        self.per_dim_scale = nn.Parameter(torch.zeros(config.head_dim))
        self.relative_position_embedding = RelativePositionEmbedding(config)
        self._heads, self._cap = config.conf_num_attention_heads, config.conf_attention_logit_cap
        self._scale = config.head_dim**-0.5 * UNIT
        self._locality = Locality.of(config)

    def forward(self, x: Tensor, tables: Tables, *, tap: Tap) -> Tensor:
        """Run on normed frames ``[clip, hidden, 1, frame]``; same shape."""
        clips, hidden, _, frames = x.shape
        queries, keys, values = self._projected(x, tap)
        queries = tap("q_blocks", self._split(self._locality.blocks(self._scaled(queries, tap))).transpose(2, 3))
        keys = tap("k_blocks", self._split(self._locality.contexts(keys)))
        values = tap("v_blocks", self._split(self._locality.contexts(values)))
        visible = tap("mask", tables.visible)
        position = tap.into("relative_position_embedding")
        scores = tap("scores", self.relative_position_embedding(queries, keys, tables.timing, tap=position))
        weights = tap("probabilities", self._weigh(scores, visible, tap))
        mixed = weights.reshape(clips, *queries.shape[1:3], keys.shape[3]) @ values.transpose(2, 3)
        by_head = mixed.reshape(clips, self._heads, -1, mixed.shape[3]).transpose(2, 3)
        context = by_head.reshape(clips, hidden, 1, by_head.shape[3])
        return tap("context", context[..., :frames])

    def _projected(self, x: Tensor, tap: Tap) -> list[Tensor]:
        projections = {"q_proj": self.q_proj, "k_proj": self.k_proj, "v_proj": self.v_proj}
        return [tap(name, project(x)) for name, project in projections.items()]

    def _scaled(self, queries: Tensor, tap: Tap) -> Tensor:
        """Queries ``[clip, hidden, 1, frame]`` times the learned scales, ``log(1 + exp(s))``, the same in each head."""
        learned = tap("per_dim_scale", functional.softplus(self.per_dim_scale))
        factor = torch.cat([learned * self._scale] * self._heads)
        return tap("q_scaled", queries * factor[:, None, None])

    def _split(self, x: Tensor) -> Tensor:
        """``[clip, head * head_dim, block, n]`` as ``[clip, head * block, head_dim, n]``."""
        clips, hidden, blocks, count = x.shape
        dim = hidden // self._heads
        by_block = x.reshape(clips * self._heads, dim, blocks, count).transpose(1, 2)
        return by_block.reshape(clips, self._heads * blocks, dim, count)

    def _weigh(self, scores: Tensor, visible: Tensor, tap: Tap) -> Tensor:
        """Softmax of capped scores ``[clip, head, block * query, key]`` over the visible keys.

        Hidden keys are given one large number, which replaces the score: a query that sees no key then weighs all
        alike. Infinities would give NaN, and what is added to a score leaves some of it.
        """
        capped = tap("logits", torch.tanh(scores / self._cap) * self._cap)
        return torch.softmax(torch.where(visible > 0.5, capped, HIDDEN), dim=-1)
