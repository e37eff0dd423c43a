"""Which keys a query sees (sliding windows: arXiv 2004.05150)."""

from __future__ import annotations

import mlx.core as mx


def positions(start: int, tokens: int, padding: mx.array) -> mx.array:
    """Position of each token, counted from the first real one; padding has negative positions.

    A row of 5 tokens that begins with 2 of padding has the positions -2, -1, 0, 1, 2.

    Args:
        start: index of the chunk's first token in the conversation, padding included.
        tokens: tokens of the chunk.
        padding: left-padding tokens of each row, ``[batch]``.

    Returns:
        ``[batch, token]``, int32.
    """
    return mx.arange(start, start + tokens, dtype=mx.int32) - padding[:, None]


def visible(queries: mx.array, keys: mx.array, *, window: int | None, padded: bool) -> mx.array:
    """Mask of attention: a query at i sees keys at j with ``i - window < j <= i`` that are real tokens.

    In a window of 4, a query at 10 sees the keys 7 to 10, and one at 1 the keys 0 and 1. A padding token sees itself
    too: a row without any key would be NaN where a runtime divides by its empty sum, and NaN in a masked value spreads
    to every query (0 x NaN).

    Args:
        queries: positions ``[batch, token]``.
        keys: positions ``[batch, key]``.
        window: positions that a query sees, its own included; None for all.
        padded: whether any position is negative.

    Returns:
        ``[batch, token, key]``, bool, True = visible.
    """
    query, key = queries[:, :, None], keys[:, None, :]
    mask = key <= query
    if window is not None:
        mask = mask & (key > query - window)
    if padded:
        mask = mask & ((key >= 0) | (key == query))
    return mask
