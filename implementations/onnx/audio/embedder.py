"""A clip's features as soft tokens of the language model, as many for each clip."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from implementations.gemma3n.config import AudioConfig
from implementations.onnx.operations.embedder import SoftEmbedder
from implementations.onnx.operations.layers import GroupedNorm
from parity.tap import Tap


class AudioEmbedder(SoftEmbedder):
    """Frames that are no sound, and places behind the last one, get the embedding of the last audio id.

    Args:
        config: the tower's.
        hidden: width of the language model.
        count: soft tokens of a clip.
    """

    def __init__(self, config: AudioConfig, hidden: int, count: int) -> None:
        super().__init__(config, hidden)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.hard_embedding_norm = GroupedNorm(config.hidden_size, config.rms_norm_eps)
        self._count = count

    def filled(self, soft: Tensor, mask: Tensor, *, tap: Tap) -> Tensor:
        """`count` soft tokens of each clip; of more frames than that, those behind are cut off.

        Args:
            soft: embedded features ``[clip, frame, hidden]``.
            mask: which frames are sound, ``[clip, frame]``, bool.
            tap: of the scope ``embed_audio``.

        Returns:
            ``[clip, count, hidden]``.
        """
        last = self.hard_embedding_norm(self.embedding.weight[-1:])
        padding = tap("padding", self.projected(last).unsqueeze(0))
        sound = torch.where(mask.unsqueeze(-1), soft, padding)
        behind = padding.expand(soft.shape[0], self._count, -1)
        # Cut to a constant: how many places are missing behind the last frame, the graph need not know.
        return tap("soft_tokens", torch.cat((sound, behind), dim=1)[:, : self._count])
