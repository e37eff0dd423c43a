"""Features of a tower in the language model's space."""

from __future__ import annotations

from torch import Tensor, nn

from implementations.gemma3n.modality import ModalityConfig
from implementations.onnx.operations.layers import GroupedNorm
from parity.tap import Tap


class SoftEmbedder(nn.Module):
    """``norm(projection(norm(x)))``; the last norm has no gain (reference: `Gemma3nMultimodalEmbedder`).

    Parameter names are those of ``embed_vision`` and ``embed_audio`` in the checkpoint, whose tables of ids serve text.

    Args:
        config: the modality's.
        hidden: width of the language model.
    """

    def __init__(self, config: ModalityConfig, hidden: int) -> None:
        super().__init__()
        self.soft_embedding_norm = GroupedNorm(config.hidden_size, config.rms_norm_eps)
        self.embedding_projection = nn.Linear(config.hidden_size, hidden, bias=False)
        self._last_norm = GroupedNorm(hidden, config.rms_norm_eps, gain=False)

    def forward(self, features: Tensor, *, tap: Tap) -> Tensor:
        """Embed ``[image or clip, token or frame, channel]``; the channels become `hidden`."""
        return tap("soft", self.projected(self.soft_embedding_norm(features)))

    def projected(self, normed: Tensor) -> Tensor:
        """``[..., channel]`` to ``[..., hidden]``."""
        return self._last_norm(self.embedding_projection(normed))
