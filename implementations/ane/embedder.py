"""Embeddings of all modalities: text, per-layer, and vision's and audio's, by ids (hard) and by features (soft).

Tables of a quarter of a million rows are looked up by the processor; the engine gets the rows. Soft embeddings are the
engine's own: they end the compiled parts that see and hear.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from implementations.ane.engine.layers import Projection, RMSNorm
from implementations.gemma3n.config import Config, ModalityConfig
from parity.tap import Tap

Rounded = Callable[[Tensor], Tensor]


class MultimodalEmbedder(nn.Module):
    """Ids and features of one modality in the language model's space: ``norm(projection(norm(x)))``.

    Both paths have the projection in common, and each its own first norm.

    A hard embedding depends on the id alone, so all of them are computed once; from then on embedding is a look-up.
    """

    def __init__(self, config: ModalityConfig, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.hard_embedding_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.soft_embedding_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.embedding_projection = Projection(config.hidden_size, hidden)
        self._last_norm = RMSNorm(hidden, config.rms_norm_eps, gain=False)
        self._config = config
        self._table: Tensor | None = None

    def hard(self, token_ids: Tensor, is_modality: Tensor) -> Tensor:
        """Embed ids of this modality, ``[batch, token]`` to ``[batch, token, hidden]``; others as its last id."""
        rows = torch.where(is_modality, token_ids, self._config.last_id) - self._config.vocab_offset
        return self._embedded()[rows]

    def last(self) -> Tensor:
        """Hard embedding of the modality's last id, ``[1, hidden, 1, 1]``: it stands for the end of a short clip."""
        return self._embedded()[-1][None, :, None, None]

    def soft(self, features: Tensor, *, tap: Tap) -> Tensor:
        """Embed a tower's features, ``[image, channel, 1, token]``; the channels become the language model's.

        Args:
            features: of pictures, or of clips ``[clip, channel, 1, frame]``.
            tap: of the scope ``embed_vision`` or ``embed_audio``.
        """
        return tap("soft", self._project(self.soft_embedding_norm(features)))

    def _embedded(self) -> Tensor:
        """Every id of the modality, ``[vocabulary, hidden]``."""
        if self._table is None:
            ids = self.embedding.weight.t()[None, :, None]  # the vocabulary stands where tokens do
            self._table = self._project(self.hard_embedding_norm(ids))[0, :, 0].t().contiguous()
        return self._table

    def _project(self, normed: Tensor) -> Tensor:
        """To the language model's width, ``[..., channel, 1, token]``; the last norm has no gain."""
        return self._last_norm(self.embedding_projection(normed))


class Embedder(nn.Module):
    """Token ids to embeddings. Parameter names are the checkpoint's.

    Attributes:
        alpha: factor of the residual stream. It is in the weights of the text table; hard and soft embeddings, which
            end in a norm without a gain, are multiplied where they are merged.
    """

    def __init__(self, config: Config, alpha: float) -> None:
        super().__init__()
        text = config.text
        self.embed_tokens = nn.Embedding(text.vocab_size, text.hidden_size)
        width = text.num_hidden_layers * text.hidden_size_per_layer_input
        self.embed_tokens_per_layer = nn.Embedding(text.vocab_size_per_layer_input, width)
        self.alpha = alpha
        self._config = config
        if config.text_only:
            return
        self.embed_vision = MultimodalEmbedder(config.vision, text.hidden_size)
        self.embed_audio = MultimodalEmbedder(config.audio, text.hidden_size)

    def forward(self, token_ids: Tensor, rounded: Rounded, *, tap: Tap) -> tuple[Tensor, Tensor]:
        """Embed token ids ``[batch, token]``; `rounded` is applied to every result.

        Returns:
            Embeddings ``[batch, hidden, 1, token]``, of placeholders too, and the token term of the per-layer inputs
            ``[batch, layer * ple, 1, token]``; ids outside the per-layer table use its row 0.
        """
        text, inner = self._config.text, tap.into("text")
        embedded = inner("embed_tokens", channels(rounded(self.embed_tokens(token_ids) * text.hidden_size**0.5)))
        in_table = torch.where(token_ids < text.vocab_size_per_layer_input, token_ids, 0)
        rows = self.embed_tokens_per_layer(in_table)
        term = inner("per_layer_inputs.token", channels(rounded(rows * text.hidden_size_per_layer_input**0.5)))
        return embedded if self._config.text_only else self._merge(token_ids, embedded, rounded, tap), term

    def _merge(self, token_ids: Tensor, embedded: Tensor, rounded: Rounded, tap: Tap) -> Tensor:
        """Put hard embeddings where the ids are of another modality."""
        is_audio = token_ids >= self._config.audio.vocab_offset
        is_vision = (token_ids >= self._config.vision.vocab_offset) & ~is_audio
        vision = tap("embed_vision.hard", channels(rounded(self.embed_vision.hard(token_ids, is_vision))))
        audio = tap("embed_audio.hard", channels(rounded(self.embed_audio.hard(token_ids, is_audio))))
        embedded = torch.where(is_vision[:, None, None], rounded(vision * self.alpha), embedded)
        return torch.where(is_audio[:, None, None], rounded(audio * self.alpha), embedded)


def channels(x: Tensor) -> Tensor:
    """``[batch, token, channel]`` as ``[batch, channel, 1, token]``."""
    return x.transpose(1, 2).unsqueeze(2)
