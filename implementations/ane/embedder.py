"""Embedding of token ids on the host: text, per-layer, and vision and audio ids (the hard path).

Tables of a quarter of a million rows are looked up by the processor; the engine gets the rows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from implementations.ane.layers import RMSNorm
from implementations.gemma3n.config import Config, ModalityConfig
from parity.tap import Tap


class MultimodalEmbedder(nn.Module):
    """Ids of one modality in the language model's space: ``norm(projection(norm(embedding)))``.

    A hard embedding depends on the id alone, so all of them are computed once; from then on embedding is a look-up.
    """

    def __init__(self, config: ModalityConfig, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.hard_embedding_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.embedding_projection = nn.Linear(config.hidden_size, hidden, bias=False)
        self._last_norm = RMSNorm(hidden, config.rms_norm_eps, gain=False)
        self._config = config
        self._table: Tensor | None = None

    def hard(self, token_ids: Tensor, is_modality: Tensor) -> Tensor:
        """Embed ids of this modality, ``[batch, token]`` to ``[batch, token, hidden]``; others as its last id."""
        if self._table is None:
            normed = self.hard_embedding_norm(self.embedding.weight, axis=1)
            self._table = self._last_norm(self.embedding_projection(normed), axis=1)
        rows = torch.where(is_modality, token_ids, self._config.last_id) - self._config.vocab_offset
        return self._table[rows]


class Embedder(nn.Module):
    """Token ids to the decoder's inputs. Parameter names are the checkpoint's.

    Attributes:
        alpha: factor of the residual stream. It is in the weights of the text table; hard embeddings, which end in a
            norm without a gain, are multiplied here.
    """

    def __init__(self, config: Config, alpha: float) -> None:
        super().__init__()
        text = config.text
        self.embed_tokens = nn.Embedding(text.vocab_size, text.hidden_size)
        width = text.num_hidden_layers * text.hidden_size_per_layer_input
        self.embed_tokens_per_layer = nn.Embedding(text.vocab_size_per_layer_input, width)
        self.embed_vision = MultimodalEmbedder(config.vision, text.hidden_size)
        self.embed_audio = MultimodalEmbedder(config.audio, text.hidden_size)
        self.alpha = alpha
        self._config = config

    def forward(self, token_ids: Tensor, rounded: Callable[[Tensor], Tensor], *, tap: Tap) -> tuple[Tensor, Tensor]:
        """Embed token ids ``[batch, token]``; `rounded` is applied to every result.

        Returns:
            Embeddings ``[batch, hidden, 1, token]``, and the token term of the per-layer inputs
            ``[batch, layer * ple, 1, token]``; ids outside the per-layer table use its row 0.
        """
        text, inner = self._config.text, tap.into("text")
        token_ids = inner("input_ids", token_ids)
        embedded = inner("embed_tokens", channels(rounded(self.embed_tokens(token_ids) * text.hidden_size**0.5)))
        in_table = torch.where(token_ids < text.vocab_size_per_layer_input, token_ids, 0)
        rows = functional.embedding(in_table, self.embed_tokens_per_layer.weight)
        term = inner("per_layer_inputs.token", channels(rounded(rows * text.hidden_size_per_layer_input**0.5)))
        return inner("inputs_embeds", self._merge(token_ids, embedded, rounded, tap)), term

    def _merge(self, token_ids: Tensor, embedded: Tensor, rounded: Callable[[Tensor], Tensor], tap: Tap) -> Tensor:
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
