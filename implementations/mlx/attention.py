"""Attention with grouped queries, normed queries and keys, and shared keys and values.

arXiv 2305.13245 (grouped queries), 2302.05442 (normed queries and keys), 2405.05254 (keys and values shared by layers).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import mlx.core as mx
from mlx.nn.layers.base import Module

from implementations.gemma3n.config import TextConfig
from implementations.mlx.cache import Cache, KeysValues
from implementations.mlx.operations.layers import ON_CPU, Linear, RMSNorm, rms_norm, swap
from parity.tap import Tap


@dataclass
class Shared:
    """What attention of every layer shares within one chunk.

    Attributes:
        offsets: position of the first token of each row, ``[batch]``, int32.
        periods: by layer type, ``1 / inverse frequency``, ``[head_dim / 2]``, float32.
        masks: by layer type, ``[batch, 1, token, key]``, True = visible.
        caches: of the layers that own keys and values; empty where nothing is kept.
        presented: by layer, keys and values that its queries saw in this chunk, for the layers that share them.
    """

    offsets: mx.array
    periods: dict[str, mx.array]
    masks: dict[str, mx.array]
    caches: list[Cache]
    presented: dict[int, KeysValues] = field(default_factory=dict)


class Attention(Module):
    """Attention of one layer. Scores are not scaled: queries and keys are normed, with learned gains."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self._layer, self._kind, self._donor = layer, config.layer_types[layer], config.donor(layer)
        self._head_dim, self._eps = config.head_dim, config.rms_norm_eps
        hidden, bias = config.hidden_size, config.attention_bias
        queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        self.q_proj = Linear(hidden, queries, bias=bias)
        self.o_proj = Linear(queries, hidden, bias=bias)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        if config.owns_keys(layer):
            self.k_proj = Linear(hidden, keys, bias=bias)
            self.v_proj = Linear(hidden, keys, bias=bias)
            self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def __call__(self, x: mx.array, shared: Shared, *, tap: Tap) -> mx.array:
        """Run on the layer's normed input ``[batch, token, hidden]``; same shape."""
        queries = tap("q_proj", self._heads(self.q_proj(x)))
        queries = tap("q_norm", self.q_norm(queries))
        queries = swap(tap("q_rope", self._rotate(queries, shared)))
        keys, values = self._keys_values(x, shared, tap)
        keys, values = tap("keys", keys), tap("values", values)
        shared.presented[self._layer] = (keys, values)
        context = tap("context", swap(self._attend(queries, keys, values, shared.masks[self._kind])))
        return tap("o_proj", self.o_proj(mx.flatten(context, 2)))

    def _keys_values(self, x: mx.array, shared: Shared, tap: Tap) -> KeysValues:
        """Keys and values that this chunk's queries see, ``[batch, kv_head, key, head_dim]``."""
        if self._donor != self._layer:
            return shared.presented[self._donor]
        keys = tap("k_proj", self._heads(self.k_proj(x)))
        keys = tap("k_norm", self.k_norm(keys))
        keys = swap(tap("k_rope", self._rotate(keys, shared)))
        values = tap("v_proj", self._heads(self.v_proj(x)))
        values = swap(tap("v_norm", rms_norm(values, None, self._eps)))
        return shared.caches[self._layer].update(keys, values) if shared.caches else (keys, values)

    def _heads(self, x: mx.array) -> mx.array:
        """``[batch, token, head * head_dim]`` to ``[batch, token, head, head_dim]``."""
        return mx.unflatten(x, -1, (-1, self._head_dim))

    def _rotate(self, x: mx.array, shared: Shared) -> mx.array:
        """Rotary embedding of ``[batch, token, head, head_dim]`` (arXiv 2104.09864), halves of the head paired."""
        periods = shared.periods[self._kind]
        rotated = mx.fast.rope(
            swap(x), self._head_dim, traditional=False, base=None, scale=1.0, offset=shared.offsets, freqs=periods
        )
        return swap(rotated)

    def _attend(self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array) -> mx.array:
        """``softmax(q k^T) v`` over visible keys, ``[batch, head, token, head_dim]``.

        MLX's GPU kernels hold scores in float32; its CPU path rounds them to the inputs' dtype before the softmax,
        which costs four times the bfloat16 floor, and 16-bit products on the CPU bypass BLAS: so there it gets float32.
        """
        dtype = queries.dtype
        if ON_CPU and dtype != mx.float32:
            queries, keys, values = (array.astype(mx.float32) for array in (queries, keys, values))
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=1.0, mask=mask).astype(dtype)
