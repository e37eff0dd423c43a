"""Vision and audio in the language model's space: ids by the hard path, the towers' features by the soft path."""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.embedding import Embedding
from mlx.nn.layers.linear import Linear

from implementations.gemma3n.config import ModalityConfig
from implementations.mlx.layers import RMSNorm, rms_norm
from parity.tap import Tap

BLOCK = 256
"""Terms that are added one after the other."""


class MultimodalEmbedder(Module):
    """Ids and features of one modality in the language model's space: ``norm(projection(norm(x)))``.

    Both paths have the projection in common, and each its own first norm.

    A hard embedding depends on the id alone, so all of them are computed once, with the first chunk; from then on
    embedding is a look-up. Otherwise every token, text included, would pay for two projections.
    """

    def __init__(self, config: ModalityConfig, hidden: int) -> None:
        super().__init__()
        self.embedding = Embedding(config.vocab_size, config.hidden_size)
        self.hard_embedding_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.soft_embedding_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
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

    def last(self) -> mx.array:
        """Hard embedding of the modality's last id, ``[1, 1, hidden]``: it stands for the end of a short clip."""
        if self._table is None:
            self._table = self._embed_all()
        return self._table[None, -1:]

    def soft(self, features: mx.array, *, tap: Tap) -> mx.array:
        """Embed a tower's features.

        Args:
            features: ``[image, token, channel]``, or of clips ``[clip, frame, channel]``.
            tap: of the scope ``embed_vision`` or ``embed_audio``.

        Returns:
            The same with the language model's width for channels.
        """
        return tap("soft", self._project(self.soft_embedding_norm(features)))

    def _embed_all(self) -> mx.array:
        """Every id of the modality, ``[vocabulary, hidden]``."""
        return self._project(self.hard_embedding_norm(self.embedding.weight))

    def _project(self, normed: mx.array) -> mx.array:
        """To the language model's width; the last norm has no gain."""
        projected = in_blocks(normed, self.embedding_projection.weight)
        return rms_norm(projected, None, self._config.rms_norm_eps)


def in_blocks(x: mx.array, weight: mx.array) -> mx.array:
    """Product of ``[..., in]`` with ``[out, in]``: ``[..., out]``, summed in blocks of `BLOCK` terms in float32.

    The BLAS in MLX's Linux wheel adds one term after the other: of 2,048, at 11 units of roundoff, where the reference
    errs by 2. In 16 bits the sum is wide and must be rounded but once.
    """
    width = x.shape[-1]
    if x.dtype != mx.float32 or width <= BLOCK or width % BLOCK:
        return x @ weight.T
    parts = mx.unflatten(x, -1, (-1, BLOCK))
    blocks = mx.swapaxes(mx.unflatten(weight, -1, (-1, BLOCK)), 0, 1)
    products = mx.expand_dims(parts, -2) @ mx.swapaxes(blocks, -1, -2)
    return mx.sum(mx.squeeze(products, -2), axis=-2)
