"""Attention of frames to those near them, with relative positions (arXiv 1901.02860) and capped scores."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from implementations.gemma3n.config import AudioConfig
from implementations.onnx.audio.windows import Heard, Windows
from parity.tap import Tap

UNIT = 1 / math.log(2)
"""1 / softplus(0): so a learned scale of zero leaves queries as they are."""


class RelativePositionEmbedding(nn.Module):
    """Scores of queries with keys, and with how far away these are (reference's class of the same name)."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.pos_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self._heads, self._windows = config.conf_num_attention_heads, Windows(config)

    def forward(self, queries: Tensor, keys: Tensor, timing: Tensor, *, tap: Tap) -> Tensor:
        """Scores of the queries of each block with the keys of its window.

        Args:
            queries: ``[clip, block, query, head, head_dim]``.
            keys: ``[clip, block, key, head, head_dim]``.
            timing: sines and cosines, ``[1, distance, hidden]``.
            tap: where steps go.

        Returns:
            ``[clip, head, block, query, key]``.
        """
        projected = self.pos_proj(tap("timing_signal", timing)).squeeze(0)
        distances = tap("pos_proj", projected.unflatten(-1, (self._heads, -1)))
        by_head = queries.permute(0, 3, 1, 2, 4)
        content = tap("content", by_head @ keys.permute(0, 3, 1, 4, 2))
        position = tap("position", by_head @ distances.permute(1, 2, 0).unsqueeze(1))
        return content + tap("position_shifted", self._windows.shifted(position))


class LocalAttention(nn.Module):
    """Attention of each frame to a few before and behind it (reference: `Gemma3nAudioAttention`)."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, hidden, bias=False)
        self.v_proj = nn.Linear(hidden, hidden, bias=False)
        self.per_dim_scale = nn.Parameter(torch.zeros(config.head_dim))
        self.relative_position_embedding = RelativePositionEmbedding(config)
        self._heads, self._cap = config.conf_num_attention_heads, config.conf_attention_logit_cap
        self._scale, self._windows = config.head_dim**-0.5 * UNIT, Windows(config)

    def forward(self, x: Tensor, heard: Heard, *, tap: Tap) -> Tensor:
        """Run on normed frames ``[clip, frame, hidden]``; returns ``[clip, frame, head, head_dim]``."""
        queries, keys, values = (
            tap(name, self.get_submodule(name)(x).unflatten(-1, (self._heads, -1)))
            for name in ("q_proj", "k_proj", "v_proj")
        )
        scale = tap("per_dim_scale", functional.softplus(self.per_dim_scale)) * self._scale
        queries = tap("q_blocks", self._windows.blocks(tap("q_scaled", queries * scale)))
        keys = tap("k_blocks", self._windows.contexts(keys))
        values = tap("v_blocks", self._windows.contexts(values))
        visible = tap("mask", heard.visible).unsqueeze(1)
        position = tap.into("relative_position_embedding")
        scores = tap("scores", self.relative_position_embedding(queries, keys, heard.timing, tap=position))
        weights = tap("probabilities", self._weights(scores, visible, tap))
        mixed = (weights @ values.permute(0, 3, 1, 2, 4)).permute(0, 2, 3, 1, 4)
        return tap("context", mixed.flatten(1, 2)[:, : x.shape[1]])

    def _weights(self, scores: Tensor, visible: Tensor, tap: Tap) -> Tensor:
        """Softmax of capped scores ``[clip, head, block, query, key]`` over the visible keys (arXiv 2408.00118).

        Hidden keys get the least finite number: infinities would be NaN where a query sees no key, which then weighs
        all alike.
        """
        capped = tap("logits", torch.tanh(scores / self._cap) * self._cap)
        return torch.softmax(torch.where(visible, capped, torch.finfo(capped.dtype).min), dim=-1)
