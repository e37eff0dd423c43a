"""Pictures and sounds: the compiled parts that see and hear, and what the processor does around them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from implementations.ane.audio.host import AudioHost
from implementations.ane.model import Parts
from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.inputs import Media, Sound
from parity.arithmetic import Arithmetic
from parity.errors import UsageError
from parity.tap import Tap


class Senses:
    """Puts media in the places of their placeholders.

    A picture's call has its own size, a sound's the number of clips and of mel frames that it is padded to: shapes
    are fixed by what a call is compiled for, and each is one call.

    Args:
        config: the model's.
        model: its parts.
        arithmetic: of the compiled parts; the processor rounds what it hands them.

    Attributes:
        audio: configuration of what hears.
    """

    def __init__(self, config: Config, model: Parts, arithmetic: Arithmetic) -> None:
        self._config, self._model, self._arithmetic = config, model, arithmetic
        self.audio = config.audio
        self._audio = AudioHost(config.audio, arithmetic.rounded)

    def merge(self, embedded: Tensor, token_ids: Tensor, media: Media, *, tap: Tap) -> Tensor:
        """Embeddings ``[batch, hidden, 1, token]`` with the soft tokens of `media` where `token_ids` have places.

        Raises:
            UsageError: where there are more or fewer places than soft tokens, or a sound is too long.
        """
        text = tap.into("text")
        if media.pixels is not None:
            soft = self._scaled(self.see(media.pixels, tap=tap))
            places = token_ids == self._config.image_token_id
            embedded = text("merged.image", filled(embedded, places, soft))
        if media.sound is not None:
            soft = self._scaled(self.hear(media.sound, tap=tap))
            places = token_ids == self._config.audio_token_id
            embedded = text("merged.audio", filled(embedded, places, soft))
        return embedded

    @torch.inference_mode()
    def see(self, pixels: NDArray[np.float32], *, tap: Tap) -> Tensor:
        """Soft tokens of images ``[image, channel, height, width]``: ``[image, hidden, 1, token]``."""
        entering = self._arithmetic.rounded(torch.from_numpy(pixels))
        with self._arithmetic.running():
            return self._model.see(entering, tap=tap)

    @torch.inference_mode()
    def hear(self, sound: Sound, *, tap: Tap) -> Tensor:
        """Soft tokens of clips: ``[clip, hidden, 1, token]``, of each as many as the prompt has places for."""
        scope, inner = tap.into("embed_audio"), tap.into("audio")
        mel = inner("mel", self._arithmetic.rounded(torch.from_numpy(sound.mel)))
        tables, kept = self._audio.prepare(torch.from_numpy(sound.mask), tap=inner)
        with self._arithmetic.running():
            soft = self._model.hear(mel[:, None], *tables, tap=tap)
        padding = self._arithmetic.rounded(self._model.embedder.embed_audio.last())
        return soft_tokens(soft, kept, padding, self._config.audio_soft_tokens_per_image, tap=scope)

    def _scaled(self, soft: Tensor) -> Tensor:
        """With alpha, which the embeddings that they are merged with carry."""
        return self._arithmetic.rounded(soft * self._model.embedder.alpha)


def soft_tokens(features: Tensor, mask: Tensor, padding: Tensor, count: int, *, tap: Tap) -> Tensor:
    """Fill up features to `count` soft tokens a clip.

    Args:
        features: of the tower, in the language model's space, ``[clip, hidden, 1, frame]``.
        mask: which frames are sound, ``[clip, frame]``, bool.
        padding: hard embedding of the last audio id, ``[1, hidden, 1, 1]``: stands where there is no sound.
        count: `audio_soft_tokens_per_image` of the configuration.
        tap: of the scope ``embed_audio``.

    Returns:
        ``[clip, hidden, 1, count]``.

    Raises:
        UsageError: for more frames than soft tokens.
    """
    clips, hidden, _, frames = features.shape
    if frames > count:
        raise UsageError(f"a clip makes {frames} soft tokens, the prompt has places for {count}; shorten the sound")
    padding = tap("padding", padding)
    sound = torch.where(mask[:, None, None], features, padding)
    behind = padding.expand(clips, hidden, 1, count - frames)
    return tap("soft_tokens", torch.cat([sound, behind], dim=3))


def filled(embedded: Tensor, places: Tensor, soft: Tensor) -> Tensor:
    """Put soft tokens where they belong, one place after the other, row by row.

    Args:
        embedded: ``[batch, hidden, 1, token]``.
        places: ``[batch, token]``, bool.
        soft: ``[image or clip, hidden, 1, token]``.

    Raises:
        UsageError: where there are more or fewer places than soft tokens.
    """
    rows = soft[:, :, 0].transpose(1, 2).flatten(0, 1)
    if len(rows) != (count := int(places.sum())):
        raise UsageError(f"{len(rows)} soft tokens for {count} places in the prompt; give its media with it")
    merged = embedded[:, :, 0].transpose(1, 2).clone()
    merged[places] = rows
    return merged.transpose(1, 2).unsqueeze(2)
