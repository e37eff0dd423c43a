"""Token ids to embeddings: text, per-layer, and vision's and audio's where the ids are theirs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from implementations.gemma3n.config import Config
from parity.tap import Tap


class Embedder(nn.Module):
    """The tables of all modalities.

    An embedding of a vision or audio id depends on the id alone, so these tables are computed when the graph is
    exported, and hold what ``norm(projection(norm(x)))`` gives for each id.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        text = config.text
        self.embed_tokens = nn.Embedding(text.vocab_size, text.hidden_size)
        width = text.num_hidden_layers * text.hidden_size_per_layer_input
        self.embed_tokens_per_layer = nn.Embedding(text.vocab_size_per_layer_input, width)
        self._config = config
        if config.text_only:
            return
        self.embed_vision = nn.Embedding(config.vision.vocab_size, text.hidden_size)
        self.embed_audio = nn.Embedding(config.audio.vocab_size, text.hidden_size)

    def forward(self, input_ids: Tensor, *, tap: Tap) -> tuple[Tensor, Tensor]:
        """Embed token ids ``[batch, token]``.

        Returns:
            Embeddings ``[batch, token, hidden]``, of placeholders too, and the token term of the per-layer inputs
            ``[batch, token, layer, ple]``; ids outside the per-layer table use its row 0.
        """
        config, text = self._config.text, tap.into("text")
        ids = text("input_ids", input_ids)
        embedded = text("embed_tokens", self.embed_tokens(ids) * config.hidden_size**0.5)
        in_table = torch.where(ids < config.vocab_size_per_layer_input, ids, 0)
        rows = self.embed_tokens_per_layer(in_table) * config.hidden_size_per_layer_input**0.5
        term = text("per_layer_inputs.token", rows.unflatten(-1, (config.num_hidden_layers, -1)))
        return embedded if self._config.text_only else self._with_media(ids, embedded, tap), term

    def _with_media(self, ids: Tensor, embedded: Tensor, tap: Tap) -> Tensor:
        """Embeddings of vision and audio where the ids are theirs."""
        vision, audio = self._config.vision, self._config.audio
        is_audio = ids >= audio.vocab_offset
        is_vision = (ids >= vision.vocab_offset) & ~is_audio
        seen = self.embed_vision(torch.where(is_vision, ids, vision.last_id) - vision.vocab_offset)
        heard = self.embed_audio(torch.where(is_audio, ids, audio.last_id) - audio.vocab_offset)
        seen, heard = tap("embed_vision.hard", seen), tap("embed_audio.hard", heard)
        embedded = torch.where(is_vision.unsqueeze(-1), seen, embedded)
        return torch.where(is_audio.unsqueeze(-1), heard, embedded)
