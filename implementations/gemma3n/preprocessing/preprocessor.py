"""A checkpoint's whole preprocessing: what a user says, with files in it, to what the model takes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.preprocessing.audio_file import Clip, load_clip
from implementations.gemma3n.preprocessing.encoding import Turn, clips, encode, images
from implementations.gemma3n.preprocessing.image import Image, load_image
from implementations.gemma3n.preprocessing.inputs import NOTHING, Inputs, media_of
from implementations.gemma3n.preprocessing.settings_reader import ProcessorSettings
from implementations.gemma3n.preprocessing.tokenizer import Tokenizer
from parity.errors import UsageError
from parity.generation import Message
from parity.media import Part, Prompt
from parity.tap import Tap

ROLES = {"system": "system", "user": "user", "model": "assistant", "text": "text"}
"""Roles as the chat template calls them."""
PADDING = 0
"""Gemma's padding id: what stands left of a shorter row is never seen."""


class Preprocessor:
    """Reads a checkpoint's tokenizer and settings when they are needed: runs on token ids need neither.

    Args:
        checkpoint: its folder.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back."""
        return Tokenizer.from_directory(self.checkpoint)

    @cached_property
    def settings(self) -> ProcessorSettings:
        """Of images, audio and the chat template."""
        return ProcessorSettings.from_directory(self.checkpoint)

    def turn(self, message: Message) -> Turn:
        """What a message says, its files decoded.

        Raises:
            UsageError: for a file that cannot be read or that the model cannot take.
        """
        return Turn(ROLES[message.role], tuple(map(self._load, message.prompt)))

    def encode(self, dialogue: Sequence[Turn]) -> list[int]:
        """Token ids of a dialogue, up to where the model's turn begins."""
        return encode(dialogue, self.tokenizer, self.settings)

    def inputs(self, token_ids: NDArray[np.int64], prompts: Sequence[Prompt], *, tap: Tap) -> Inputs:
        """A chunk's inputs: of prompts, where there are any.

        Their own token ids take the place of the given ones; where these have another shape, which the judge sees, the
        run goes on with those that were given.
        """
        if not prompts:
            return Inputs(token_ids, NOTHING)
        made = self.batch(prompts, tap=tap)
        return made if made.token_ids.shape == token_ids.shape else Inputs(token_ids, made.media)

    def batch(self, prompts: Sequence[Prompt], *, tap: Tap) -> Inputs:
        """One user turn a row, padded on the left; every value is a step."""
        rows = [self.turn(Message("user", prompt)) for prompt in prompts]
        ids = [self.encode([row]) for row in rows]
        longest = max(map(len, ids))
        padded = np.array([[PADDING] * (longest - len(row)) + row for row in ids], np.int64)
        media = media_of(images(rows), clips(rows), self.settings.audio, tap=tap)
        return Inputs(tap("processor.token_ids", padded), media)

    def _load(self, part: Part) -> str | Image | Clip:
        if part.kind == "text":
            return part.value
        if part.kind == "image" and self.settings.image is not None:
            return load_image(Path(part.value), self.settings.image)
        if part.kind == "audio" and self.settings.audio is not None:
            return load_clip(Path(part.value), self.settings.audio)
        raise UsageError(f"checkpoint {self.checkpoint} is a language model alone: give it text, no {part.kind}")
