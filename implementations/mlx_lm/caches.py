"""The package's own caches of a conversation."""

from __future__ import annotations

from typing import Any

from mlx_lm.models.cache import make_prompt_cache


def caches(model: Any, padding: tuple[int, ...]) -> list[Any]:
    """One a layer. For padded rows the batch caches that the package's generation merges of one cache a row."""
    if len(padding) == 1 or not any(padding):
        return make_prompt_cache(model)
    rows = [make_prompt_cache(model) for _ in padding]
    merged = [row[0].merge(list(row)) for row in zip(*rows, strict=True)]
    for cache in merged:
        cache.prepare(left_padding=list(padding))
    return merged
