"""The embeddings that mlx-lm drops: part of a patch that shows what dropping them does."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx_lm.models.gemma3n import LanguageModel

from implementations.mlx.operations.layers import rms_norm


def fill(embedded: mx.array, token_ids: mx.array, model: LanguageModel) -> None:
    """Put the embeddings of pictures' and sounds' ids into `embedded`, in place.

    Args:
        embedded: ``[batch, token, hidden]``.
        token_ids: ``[batch, token]``. Ids of text come first, then those of pictures, then those of sounds.
        model: with the weights that its `sanitize` dropped, if the checkpoint had them.
    """
    first = model.vocab_size_per_layer_input
    for name in ("embed_vision", "embed_audio"):
        if (weights := model.dropped[name]) is None:
            return  # the checkpoint is of a language model alone, whose ids are all of text
        table = _table(weights, embedded.dtype, model.config.rms_norm_eps)
        last = first + len(table) - 1
        own = (token_ids >= first) & (token_ids <= last)
        hard = table[mx.where(own, token_ids, last) - first]
        embedded[:] = mx.where(own[..., None], hard, embedded)
        first = last + 1


def _table(weights: dict[str, Any], dtype: mx.Dtype, eps: float) -> mx.array:
    """Every id's embedding, ``[id, hidden]``: ``norm(projection(norm(embedding)))``."""
    rows, gain, projection = (
        weights[part]["weight"].astype(dtype) for part in ("embedding", "hard_embedding_norm", "embedding_projection")
    )
    return rms_norm(rms_norm(rows, gain, eps) @ projection.T, None, eps)
