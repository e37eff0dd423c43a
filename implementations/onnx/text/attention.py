"""Attention with grouped queries, normed queries and keys, and shared keys and values.

arXiv 2305.13245 (grouped queries), 2302.05442 (normed queries and keys), 2405.05254 (keys and values shared by layers).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from implementations.gemma3n.config import TextConfig
from implementations.onnx.operations.layers import RMSNorm, linear
from parity.tap import Tap


class Tables(NamedTuple):
    """What attention of every layer of one type shares.

    Attributes:
        cos, sin: ``[batch, token, 1, head_dim]``.
        mask: ``[batch, token, key]``, bool, True = visible.
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor


class KeysValues(NamedTuple):
    """Keys and values, each ``[batch, kv_head, key, head_dim]``."""

    keys: Tensor
    values: Tensor


class Attention(nn.Module):
    """Attention of one layer. Scores are not scaled: queries and keys are normed, with learned gains."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self._owns, self._head_dim = config.owns_keys(layer), config.head_dim
        self._groups = config.num_key_value_heads
        hidden, bias = config.hidden_size, config.attention_bias
        queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        self.q_proj = linear(hidden, queries, bias=bias)
        self.o_proj = linear(queries, hidden, bias=bias)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        if self._owns:
            self.k_proj = linear(hidden, keys, bias=bias)
            self.v_proj = linear(hidden, keys, bias=bias)
            self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
            self.v_norm = RMSNorm(config.head_dim, config.rms_norm_eps, gain=False)

    def forward(self, x: Tensor, tables: Tables, held: KeysValues, *, tap: Tap) -> tuple[Tensor, KeysValues]:
        """Run on the layer's normed input ``[batch, token, hidden]``.

        Args:
            x: the input.
            tables: of the layer's type.
            held: keys and values of earlier chunks; of a layer that shares, all that its donor's queries see.
            tap: where steps go.

        Returns:
            The output, of the same shape, and the keys and values that the queries see.
        """
        queries = tap("q_proj", self._heads(self.q_proj(x)))
        queries = tap("q_norm", self.q_norm(queries))
        queries = tap("q_rope", rotated(queries, tables))
        seen = self._extended(x, tables, held, tap) if self._owns else held
        seen = KeysValues(tap("keys", seen.keys), tap("values", seen.values))
        context = tap("context", self._attend(queries, seen, tables.mask))
        return tap("o_proj", self.o_proj(context.flatten(2))), seen

    def _extended(self, x: Tensor, tables: Tables, past: KeysValues, tap: Tap) -> KeysValues:
        """The past with the chunk's own keys and values behind it."""
        keys = tap("k_proj", self._heads(self.k_proj(x)))
        keys = tap("k_norm", self.k_norm(keys))
        keys = tap("k_rope", rotated(keys, tables))
        values = tap("v_proj", self._heads(self.v_proj(x)))
        values = tap("v_norm", self.v_norm(values))
        new = keys.transpose(1, 2), values.transpose(1, 2)
        return KeysValues(*(torch.cat(pair, dim=2) for pair in zip(past, new, strict=True)))

    def _heads(self, x: Tensor) -> Tensor:
        """``[batch, token, head * head_dim]`` to ``[batch, token, head, head_dim]``."""
        return x.unflatten(-1, (-1, self._head_dim))

    def _attend(self, queries: Tensor, seen: KeysValues, mask: Tensor) -> Tensor:
        """``softmax(q k^T) v`` over visible keys, ``[batch, token, head, head_dim]``.

        The queries of a group are rows of one product, so that its keys are not copied for each of them.
        """
        tokens = queries.shape[1]
        grouped = queries.unflatten(2, (self._groups, -1)).permute(0, 2, 3, 1, 4)  # batch kv_head group token head_dim
        scores = grouped.flatten(2, 3) @ seen.keys.transpose(2, 3)
        scores = scores.unflatten(2, (-1, tokens))
        least = torch.finfo(scores.dtype).min
        weights = torch.softmax(torch.where(mask[:, None, None], scores, least), dim=-1)
        context = (weights.flatten(2, 3) @ seen.values).unflatten(2, (-1, tokens))
        return context.permute(0, 3, 1, 2, 4).flatten(2, 3)


def rotated(x: Tensor, tables: Tables) -> Tensor:
    """Rotary embedding of ``[batch, token, head, head_dim]`` (arXiv 2104.09864), halves of the head paired."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    return x * tables.cos + torch.cat((-second, first), dim=-1) * tables.sin
