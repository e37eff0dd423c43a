"""A dialogue to everything that the model takes: token ids, pixels and mel features, each a step of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.preprocessing.audio_file import Clip
from implementations.gemma3n.preprocessing.encoding import Turn, clips, encode, images
from implementations.gemma3n.preprocessing.image import Image
from implementations.gemma3n.preprocessing.mel import frame_mask, log_mel, padded
from implementations.gemma3n.preprocessing.settings import AudioSettings
from implementations.gemma3n.preprocessing.settings_reader import ProcessorSettings
from implementations.gemma3n.preprocessing.tokenizer import Tokenizer
from parity.tap import SILENT, Tap


@dataclass(frozen=True)
class Sound:
    """Clips as the audio tower takes them.

    Attributes:
        mel: ``[clip frame mel]``, float32.
        mask: ``[clip frame]``: the frames that count. The reference's tower takes its negation.
    """

    mel: NDArray[np.float32]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Media:
    """Images and clips as the model takes them.

    Attributes:
        pixels: ``[image channel height width]``, float32; None without images.
        sound: None without clips.
    """

    pixels: NDArray[np.float32] | None = None
    sound: Sound | None = None

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.pixels is not None or self.sound is not None


NOTHING = Media()


@dataclass(frozen=True)
class Inputs:
    """What one forward pass over a dialogue takes.

    Attributes:
        token_ids: ``[batch=1 token]``, int64.
        media: in the order of their placeholders.
    """

    token_ids: NDArray[np.int64]
    media: Media


def prepare(turns: Sequence[Turn], tokenizer: Tokenizer, settings: ProcessorSettings, *, tap: Tap = SILENT) -> Inputs:
    """Everything that the model takes to answer a dialogue.

    Raises:
        UsageError: as `encode`.
    """
    ids = np.array([encode(turns, tokenizer, settings)], np.int64)
    return Inputs(
        token_ids=tap("processor.token_ids", ids),
        media=media_of(images(turns), clips(turns), settings.audio, tap=tap),
    )


def media_of(
    images: Sequence[Image], clips: Sequence[Clip], settings: AudioSettings | None, *, tap: Tap = SILENT
) -> Media:
    """Images and clips, each kind as one batch."""
    scope = tap.into("processor")
    return Media(pixel_batch(images, tap=scope), sound_batch(clips, settings, tap=scope))


def pixel_batch(images: Sequence[Image], *, tap: Tap = SILENT) -> NDArray[np.float32] | None:
    """Images as one batch ``[image channel height width]``; None without any."""
    return tap("pixels", np.stack([image.pixels for image in images])) if images else None


def sound_batch(clips: Sequence[Clip], settings: AudioSettings | None, *, tap: Tap = SILENT) -> Sound | None:
    """Clips of unequal length as one batch; None without any.

    Features cannot be stacked clip by clip: frames at the end of a shorter clip reach into the zeros behind it, as far
    as the longest one goes.
    """
    if not clips or settings is None:
        return None
    waveforms = [clip.waveform for clip in clips]
    mel = log_mel(tap("waveform", padded(waveforms)), settings)
    mask = frame_mask([len(waveform) for waveform in waveforms], settings)
    return Sound(tap("mel", mel), tap("mel_mask", mask))
