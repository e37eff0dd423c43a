"""What stands for pictures and sounds: rows of libmtmd's tower where it is for them, else of another backend's."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.backend import Port
from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.inputs import Media
from implementations.gguf.engine.tensors import Value
from implementations.gguf.program import Soft
from parity.discovery import find
from parity.errors import UsageError
from parity.tap import Tap

if TYPE_CHECKING:
    from implementations.gguf.sight import Sight

PICTURES, SOUNDS = "embed_vision.soft", "embed_audio.soft_tokens"
"""The steps that another backend's rows are."""


class Senses:
    """Media to rows. Towers are loaded when the first picture or sound comes.

    Args:
        checkpoint: a Hugging Face folder.
        config: its configuration.
        witness: name of the backend whose towers make the rows that llama.cpp has none for.
        look: makes libmtmd's tower; a UsageError where it computes no such pictures.
    """

    def __init__(self, checkpoint: Path, config: Config, witness: str, look: Callable[[], Sight]) -> None:
        self._checkpoint, self._config, self._name, self._look = checkpoint, config, witness, look

    def soft(self, media: Media, *, tap: Tap) -> Soft:
        """Rows by the id of their placeholders.

        Raises:
            UsageError: for what the towers do not take.
            BackendUnavailable: where they cannot run.
        """
        found: dict[int, NDArray[np.float32]] = {}
        if (pixels := media.pixels) is not None:
            found[self._config.image_token_id] = (
                self._told(PICTURES, self.witness.see(pixels), tap)
                if self._sight is None
                else self._sight.see(pixels, tap=tap)
            )
        if media.sound is not None:
            found[self._config.audio_token_id] = self._told(SOUNDS, self.witness.hear(media.sound), tap)
        return found

    @cached_property
    def witness(self) -> Port:
        """The other backend, in float32.

        It computes in this process, so that its environment comes late for a library that is loaded with the process.
        """
        kind = find(self._name)
        assert issubclass(kind, Port)  # the option has been checked
        os.environ |= {name: value for name, value in kind.environment().items() if name != "LD_PRELOAD"}
        return kind.load(self._checkpoint, "float32")

    @cached_property
    def _sight(self) -> Sight | None:
        """The vision tower of libmtmd; None where it is not for the checkpoint's pictures."""
        try:
            return self._look()
        except UsageError:
            return None

    def _told(self, step: str, rows: NDArray[np.float32], tap: Tap) -> NDArray[np.float32]:
        value: Value = tap(step, Value(rows))
        return value.array
