"""Gemma 3n: what runs on the host, and the compiled parts."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from implementations.ane.audio.tower import AudioTower
from implementations.ane.decoder import Decoder, Head
from implementations.ane.embedder import Embedder
from implementations.ane.vision.tower import VisionTower
from implementations.gemma3n.config import Config
from parity.tap import SILENT, Tap

LANGUAGE = "model.language_model."
TOWERS = ("model.vision_tower.", "model.audio_tower.")
"""What the names of the tensors of the towers begin with, that of pictures first."""
TABLE = f"{LANGUAGE}embed_tokens.weight"
"""Of the embeddings, and of the head."""
PREFIXES = {
    "decoder.": LANGUAGE,
    "embedder.embed_tokens": f"{LANGUAGE}embed_tokens",
    "embedder.embed_vision.": "model.embed_vision.",
    "embedder.embed_audio.": "model.embed_audio.",
    "vision_tower.": "model.vision_tower.",
    "audio_tower.": "model.audio_tower.",
}
"""Where the parameters of a part are in the checkpoint."""


class Parts(Protocol):
    """What a program runs: the model's parts, or others that are called alike.

    Attributes:
        embedder: what the host looks up.
    """

    embedder: Embedder

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what `decode` takes, in order."""
        ...

    def decode(self, *tensors: Tensor, tap: Tap = SILENT) -> tuple[Tensor, ...]:
        """States and caches."""
        ...

    def score(self, states: Tensor, *, tap: Tap = SILENT) -> Tensor:
        """Logits ``[batch, vocabulary, 1, token]`` of states ``[batch, hidden, 1, token]``."""
        ...

    def see(self, pixels: Tensor, *, tap: Tap = SILENT) -> Tensor:
        """Soft tokens of images ``[image, channel, height, width]``: ``[image, hidden, 1, token]``."""
        ...

    def hear(self, mel: Tensor, *tables: Tensor, tap: Tap = SILENT) -> Tensor:
        """Soft tokens of clips, of their mel features and `Tables`: ``[clip, hidden, 1, frame]``."""
        ...


class Gemma3n(nn.Module):
    """All parameters.

    The embedders of pictures and sounds serve the processor and the engine.
    """

    def __init__(self, config: Config, alpha: float) -> None:
        super().__init__()
        self.embedder = Embedder(config, alpha)
        self.decoder = Decoder(config.text)
        self.head = Head(config.text)
        if config.text_only:
            return
        self.vision_tower = VisionTower(config.vision)
        self.audio_tower = AudioTower(config.audio)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what `decode` takes, in order."""
        return self.decoder.inputs

    def decode(self, *tensors: Tensor, tap: Tap = SILENT) -> tuple[Tensor, ...]:
        """States and caches, of what `decoder` takes."""
        found: tuple[Tensor, ...] = self.decoder(*tensors, tap=tap.into("text"))
        return found

    def score(self, states: Tensor, *, tap: Tap = SILENT) -> Tensor:
        """Logits ``[batch, vocabulary, 1, token]`` of states ``[batch, hidden, 1, token]``."""
        found: Tensor = self.head(states, tap=tap.into("text"))
        return found

    def see(self, pixels: Tensor, *, tap: Tap = SILENT) -> Tensor:
        """Soft tokens of images ``[image, channel, height, width]``: ``[image, hidden, 1, token]``."""
        features = self.vision_tower(pixels, tap=tap.into("vision"))
        return self.embedder.embed_vision.soft(features, tap=tap.into("embed_vision"))

    def hear(self, mel: Tensor, *tables: Tensor, tap: Tap = SILENT) -> Tensor:
        """Soft tokens of clips, of their mel features and `Tables`: ``[clip, hidden, 1, frame]``."""
        features = self.audio_tower(mel, *tables, tap=tap.into("audio"))
        return self.embedder.embed_audio.soft(features, tap=tap.into("embed_audio"))


def checkpoint_name(parameter: str) -> str | None:
    """The name of the checkpoint's tensor that a parameter holds; None for the head, which it does not have."""
    for prefix, name in PREFIXES.items():
        if parameter.startswith(prefix):
            return name + parameter.removeprefix(prefix)
    return None
