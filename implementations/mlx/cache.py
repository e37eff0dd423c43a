"""Keys and values of earlier chunks.

A cache keeps positions in temporal order in one buffer, so what attention sees is a plain slice of it. A sliding cache
is not a ring: it writes behind the last entry until the buffer, twice the window, is full, and then moves the window
to the front. That costs one copy of the window per window of tokens, and order comes for free.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from implementations.gemma3n.config import TextConfig
from implementations.gemma3n.rope import SLIDING

BLOCK = 256
"""A growing cache is extended by so many positions at a time."""

KeysValues = tuple[mx.array, mx.array]
"""Keys and values, each ``[batch, kv_head, key, head_dim]``."""


class Cache:
    """Keys and values of one layer.

    Args:
        window: positions that a query sees, its own included; None for all.
    """

    def __init__(self, window: int | None = None) -> None:
        self._window = window
        self._buffers: KeysValues | None = None
        self._length = 0
        self._end = 0

    @property
    def past(self) -> int:
        """Cached positions that the next chunk sees: all, or at most the window without the query itself."""
        return seen(self._length, self._window)

    @property
    def state(self) -> Sequence[mx.array]:
        """Arrays that the next chunk depends on."""
        return self._buffers or ()

    def update(self, keys: mx.array, values: mx.array) -> KeysValues:
        """Keep a chunk's keys and values; return what its queries see, in position order.

        Args:
            keys: ``[batch, kv_head, token, head_dim]``, rotated.
            values: same shape.

        Returns:
            ``[batch, kv_head, past + token, head_dim]``: cached positions, then the new ones.
        """
        past, new = self.past, keys.shape[2]
        if self._buffers is None or self._end + new > self._buffers[0].shape[2]:
            self._buffers = (self._make_room(0, keys, past), self._make_room(1, values, past))
            self._end = past
        # Behind 6 tokens in a window of 4, a new one sees 3 of them: it is written at 6, and entries 3 to 6 are seen.
        begin, middle, self._end = self._end - past, self._end, self._end + new
        for buffer, chunk in zip(self._buffers, (keys, values), strict=True):
            buffer[:, :, middle : self._end] = chunk
        self._length += new
        cached_keys, cached_values = self._buffers
        return cached_keys[:, :, begin : self._end], cached_values[:, :, begin : self._end]

    def _make_room(self, which: int, chunk: mx.array, past: int) -> mx.array:
        """A buffer that begins with the `past` positions still seen and has room for `chunk`."""
        batch, heads, new, width = chunk.shape
        fresh = mx.zeros((batch, heads, self._capacity(past + new) - past, width), chunk.dtype)
        if self._buffers is None or past == 0:
            return fresh
        return mx.concatenate([self._buffers[which][:, :, self._end - past : self._end], fresh], axis=2)

    def _capacity(self, needed: int) -> int:
        if self._window is None:
            return -(-needed // BLOCK) * BLOCK
        return max(needed, 2 * self._window)


class Conversation:
    """What one conversation carries from chunk to chunk.

    Args:
        config: the language model's.
        padding: left-padding tokens of each batch row.
        cache: whether keys and values are kept; without, there is one chunk.
    """

    def __init__(self, config: TextConfig, *, padding: tuple[int, ...], cache: bool) -> None:
        kinds = config.layer_types[: config.first_shared_layer]
        self.caches = [Cache(window_of(config, kind)) for kind in kinds] if cache else []
        self.padding = mx.array(padding, dtype=mx.int32)
        self.padded = any(padding)
        self.start = 0

    def advance(self, tokens: int) -> None:
        """Count a chunk that was run."""
        self.start += tokens

    @property
    def state(self) -> list[mx.array]:
        """Arrays that the next chunk depends on; evaluated with each chunk so that no graph grows."""
        return [array for cache in self.caches for array in cache.state]


def window_of(config: TextConfig, layer_type: str) -> int | None:
    """Positions that a layer's query sees, its own included; None for all."""
    return config.sliding_window if layer_type == SLIDING else None


def seen(length: int, window: int | None) -> int:
    """How many of `length` earlier positions a chunk sees at all: its first query is one of the window's positions."""
    return length if window is None else min(length, window - 1)
