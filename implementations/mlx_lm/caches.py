"""The package's own caches of a conversation."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import ArraysCache, CacheList, make_prompt_cache


def caches(model: Any, padding: tuple[int, ...]) -> list[Any]:
    """One a layer. For padded rows the batch caches that the package's generation merges of one cache a row."""
    if len(padding) == 1 or not any(padding):
        return make_prompt_cache(model)
    rows = [make_prompt_cache(model) for _ in padding]
    merged = [row[0].merge(list(row)) for row in zip(*rows, strict=True)]
    for cache in merged:
        _pad(cache, padding)
    return merged


def _pad(cache: Any, padding: tuple[int, ...]) -> None:
    """Tell a cache of its rows' left padding; what a recurrence's is told is padding on the right, so it is set."""
    if isinstance(cache, CacheList):
        for one in cache.caches:
            _pad(one, padding)
    elif isinstance(cache, ArraysCache):
        cache.left_padding = mx.array(padding)
    else:
        cache.prepare(left_padding=list(padding))
