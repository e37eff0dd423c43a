"""Embeddings of what the model itself has said, where that are ids of pictures and sounds: part of a patch."""

from __future__ import annotations

from typing import Any

import mlx.core as mx


def fill(embedded: mx.array, token_ids: mx.array, embedders: dict[str, Any]) -> None:
    """Put the embeddings of pictures' and sounds' ids into `embedded`, in place.

    Args:
        embedded: ``[batch, token, hidden]``.
        token_ids: ``[batch, token]``.
        embedders: the package's, by name.
    """
    for name, embedder in embedders.items():  # noqa: B007  # the tap reads the name
        first, size = embedder.vocab_offset, embedder.vocab_size
        own = (token_ids >= first) & (token_ids < first + size)
        hard = embedder(input_ids=mx.where(own, token_ids, first + size - 1))
        embedded[:] = mx.where(own[..., None], hard, embedded)
