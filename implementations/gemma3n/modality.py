"""What every modality besides text has: ids of its own and an embedder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModalityConfig:
    """What embedding a modality's ids needs.

    Attributes:
        vocab_offset: first token id of the modality.
        vocab_size: how many ids it has.
        hidden_size: width of its embeddings before they are projected to the language model's.
    """

    vocab_offset: int
    vocab_size: int = 128
    hidden_size: int = 2048
    rms_norm_eps: float = 1e-6

    @property
    def last_id(self) -> int:
        """The modality's last id: embedded in place of ids that are not of the modality."""
        return self.vocab_offset + self.vocab_size - 1
