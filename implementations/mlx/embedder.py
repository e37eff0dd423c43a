"""Vision and audio in the language model's space: ids by the hard path, the towers' features by the soft path."""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.embedding import Embedding

from implementations.gemma3n.config import ModalityConfig
from implementations.mlx.operations.layers import Linear, RMSNorm, rms_norm
from parity.errors import UsageError
from parity.tap import Tap


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
        return rms_norm(self.embedding_projection(normed), None, self._config.rms_norm_eps)


def soft_tokens(features: mx.array, mask: mx.array, padding: mx.array, count: int, *, tap: Tap) -> mx.array:
    """Fill up features to `count` soft tokens a clip.

    Args:
        features: of the tower, in the language model's space, ``[clip, frame, hidden]``.
        mask: which frames are sound, ``[clip, frame]``.
        padding: hard embedding of the last audio id, ``[1, 1, hidden]``: stands where there is no sound.
        count: `audio_soft_tokens_per_image` of the configuration.
        tap: of the scope ``embed_audio``.

    Returns:
        ``[clip, count, hidden]``.

    Raises:
        UsageError: for more frames than soft tokens.
    """
    clips, frames, hidden = features.shape
    if frames > count:
        raise UsageError(f"a clip makes {frames} soft tokens, the prompt has places for {count}; shorten the sound")
    padding = tap("padding", padding).astype(features.dtype)
    sound = mx.where(mask[..., None], features, padding)
    behind = mx.broadcast_to(padding, (clips, count - frames, hidden))
    return tap("soft_tokens", mx.concatenate([sound, behind], axis=1))
