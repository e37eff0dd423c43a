"""Embedding of vision and audio ids (the hard path; soft tokens come from the towers)."""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.embedding import Embedding
from mlx.nn.layers.linear import Linear

from implementations.gemma3n.config import ModalityConfig
from implementations.mlx.layers import RMSNorm, rms_norm


class MultimodalEmbedder(Module):
    """Ids of one modality in the language model's space: ``norm(projection(norm(embedding)))``.

    A hard embedding depends on the id alone, so all of them are computed once, with the first chunk; from then on
    embedding is a look-up. Otherwise every token, text included, would pay for two projections.
    """

    def __init__(self, config: ModalityConfig, hidden: int) -> None:
        super().__init__()
        self.embedding = Embedding(config.vocab_size, config.hidden_size)
        self.hard_embedding_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.embedding_projection = Linear(config.hidden_size, hidden, bias=False)
        self._config = config
        self._table: mx.array | None = None

    def hard(self, token_ids: mx.array, is_modality: mx.array) -> mx.array:
        """Embed ids of this modality; other tokens get the embedding of its last id.

        Args:
            token_ids: ``[batch, token]``.
            is_modality: which of them are this modality's, same shape, bool.

        Returns:
            ``[batch, token, hidden]``.
        """
        if self._table is None:
            self._table = self._embed_all()
        rows = mx.where(is_modality, token_ids, self._config.last_id) - self._config.vocab_offset
        return self._table[rows]

    def _embed_all(self) -> mx.array:
        """Every id of the modality, ``[vocabulary, hidden]``; the last norm has no gain."""
        projected = self.embedding_projection(self.hard_embedding_norm(self.embedding.weight))
        return rms_norm(projected, None, self._config.rms_norm_eps)
