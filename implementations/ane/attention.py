"""Attention with grouped queries, normed queries and keys, and keys and values shared by layers, in static shapes.

arXiv 2305.13245 (grouped queries), 2302.05442 (normed queries and keys), 2405.05254 (keys and values shared by layers).
Heads have the axes ``batch, head, head_dim, token``, caches ``batch, kv_head, slot, head_dim``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from implementations.ane.engine.layers import Projection, RMSNorm
from implementations.gemma3n.config import TextConfig
from parity.tap import Tap

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Tables:
    """What the host works out for one layer type and one call.

    Attributes:
        cos: ``[batch, 1, head_dim, token]``.
        sin: same shape; its first half is negated.
        mask: added to scores: 0 where a query sees a slot, ``[batch, 1, token, slot]``.
        update: 1 where a token is written to a slot, ``[1, 1, slot, token]``; nothing for padding.
        kept: 0 for slots that a token is written to, else 1, ``[1, 1, slot, 1]``.
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor
    update: Tensor
    kept: Tensor


@dataclass
class Shared:
    """What attention of every layer shares within one compiled call.

    Attributes:
        tables: by layer type.
        caches: by layer that owns keys and values; replaced as layers write.
        presented: by layer, what its queries saw, for the layers that share it.
    """

    tables: dict[str, Tables]
    caches: dict[int, KeysValues]
    presented: dict[int, KeysValues] = field(default_factory=dict)


class Attention(nn.Module):
    """Attention of one layer. Scores are not scaled: queries and keys are normed, with learned gains."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self._layer, self._kind, self._donor = layer, config.layer_types[layer], config.donor(layer)
        self._head_dim, self._heads, self._kv_heads = (
            config.head_dim,
            config.num_attention_heads,
            config.num_key_value_heads,
        )
        hidden, dim, eps, bias = config.hidden_size, config.head_dim, config.rms_norm_eps, config.attention_bias
        self.q_proj = Projection(hidden, self._heads * dim, bias=bias)
        self.o_proj = Projection(self._heads * dim, hidden, bias=bias)
        self.q_norm = RMSNorm(dim, eps)
        if config.owns_keys(layer):
            self.k_proj = Projection(hidden, self._kv_heads * dim, bias=bias)
            self.v_proj = Projection(hidden, self._kv_heads * dim, bias=bias)
            self.k_norm = RMSNorm(dim, eps)
            self.v_norm = RMSNorm(dim, eps, gain=False)

    def forward(self, x: Tensor, shared: Shared, *, tap: Tap) -> Tensor:
        """Run on the layer's normed input ``[batch, hidden, 1, token]``; same shape."""
        tables = shared.tables[self._kind]
        queries = tap("q_proj", self._split(self.q_proj(x), self._heads))
        queries = tap("q_norm", self.q_norm(queries, axis=2))
        queries = tap("q_rope", rotate(queries, tables))
        keys, values = self._keys_values(x, shared, tables, tap)
        keys, values = tap("keys", keys), tap("values", values)
        shared.presented[self._layer] = (keys, values)
        context = tap("context", self._attend(queries, keys, values, tables.mask))
        rows, heads, dim, tokens = context.shape
        return tap("o_proj", self.o_proj(context.reshape(rows, heads * dim, 1, tokens)))

    def _keys_values(self, x: Tensor, shared: Shared, tables: Tables, tap: Tap) -> KeysValues:
        """The cache with this call's tokens in it; a KV-shared layer reads its donor's."""
        if self._donor != self._layer:
            return shared.presented[self._donor]
        keys = tap("k_proj", self._split(self.k_proj(x), self._kv_heads))
        keys = tap("k_norm", self.k_norm(keys, axis=2))
        keys = tap("k_rope", rotate(keys, tables))
        values = tap("v_proj", self._split(self.v_proj(x), self._kv_heads))
        values = tap("v_norm", self.v_norm(values, axis=2))
        cached_keys, cached_values = shared.caches[self._layer]
        shared.caches[self._layer] = (write(cached_keys, keys, tables), write(cached_values, values, tables))
        return shared.caches[self._layer]

    def _split(self, x: Tensor, heads: int) -> Tensor:
        """``[batch, head * head_dim, 1, token]`` to ``[batch, head, head_dim, token]``."""
        return x.reshape(x.shape[0], heads, self._head_dim, x.shape[3])

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """``softmax(q k^T + mask) v``, ``[batch, head, head_dim, token]``.

        The queries of a group become tokens of their key head, so that keys and values are never repeated.
        """
        rows, heads, dim, tokens = queries.shape
        slots, group = keys.shape[2], heads // self._kv_heads
        by_group = queries.reshape(rows * self._kv_heads, group, dim, tokens).transpose(2, 3)
        scores = by_group.reshape(rows, self._kv_heads, group * tokens, dim) @ keys.transpose(2, 3)
        masked = scores.reshape(rows, heads, tokens, slots) + mask
        weights = torch.softmax(masked, dim=-1).reshape(rows, self._kv_heads, group * tokens, slots)
        return (weights @ values).reshape(rows, heads, tokens, dim).transpose(2, 3)


def rotate(x: Tensor, tables: Tables) -> Tensor:
    """Rotary embedding of ``[batch, head, head_dim, token]`` (arXiv 2104.09864), halves of the head paired."""
    left, right = x.chunk(2, dim=2)
    return x * tables.cos + torch.cat((right, left), dim=2) * tables.sin


def write(cache: Tensor, new: Tensor, tables: Tables) -> Tensor:
    """A cache with new entries in their slots.

    Which slot a token takes is data, not program: Core ML drops assignments to a computed index without a word, and
    cannot convert `index_copy`. The product with a one-hot matrix moves numbers without rounding them.

    Args:
        cache: ``[batch, kv_head, slot, head_dim]``.
        new: ``[batch, kv_head, head_dim, token]``.
        tables: says where.
    """
    entries, kept = new.transpose(2, 3), cache * tables.kept
    if entries.shape[2] == 1:
        return torch.addcmul(kept, tables.update, entries)
    return kept + tables.update @ entries
