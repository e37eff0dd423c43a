"""The package's own caches."""

from __future__ import annotations

from typing import Any

from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.models.gemma3n import Model


def make(model: Model, padding: tuple[int, ...]) -> list[Any]:
    """Caches for ``len(padding)`` rows. Several rows get the batch caches that the package's generation merges."""
    if len(padding) == 1:
        return make_prompt_cache(model)
    rows = [make_prompt_cache(model) for _ in padding]
    merged = [row[0].merge(list(row)) for row in zip(*rows, strict=True)]
    for cache in merged:
        cache.prepare(left_padding=list(padding))
    return merged
