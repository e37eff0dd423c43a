"""A backend that answers: messages with pictures and sounds in, text out; what was read before stays in the cache."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.config import Config
from implementations.gemma3n.generation import generate_ids, prefill
from implementations.gemma3n.preprocessing.audio_file import Clip
from implementations.gemma3n.preprocessing.encoding import Turn, clips, images, require_own_turns
from implementations.gemma3n.preprocessing.image import Image
from implementations.gemma3n.preprocessing.inputs import NOTHING, Media, media_of
from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
from implementations.gemma3n.preprocessing.tokenizer import stop_ids
from parity.errors import ContextExceeded, UsageError
from parity.generation import Finish, Message, Sampling, until
from parity.tap import SILENT, Hear, Tap, silence


class Reader(Protocol):
    """What a dialogue needs of a model."""

    def begin(self) -> None:
        """Forget what was read."""

    def read(self, token_ids: list[int], media: Media = NOTHING, *, tap: Tap = SILENT) -> NDArray[Any]:
        """Read further ids and the media whose placeholders they hold; logits behind the last, ``[vocabulary]``."""


class Dialogue:
    """One conversation with a model at a time.

    Args:
        reader: the model.
        preprocessor: the checkpoint's.
    """

    def __init__(self, reader: Reader, preprocessor: Preprocessor) -> None:
        self._reader, self._preprocessor = reader, preprocessor
        self._stops = stop_ids(preprocessor.checkpoint)
        self._context = Config.from_directory(preprocessor.checkpoint).text.max_position_embeddings
        self._forget()

    def reply(
        self, messages: Sequence[Message], sampling: Sampling, *, hear: Hear = silence
    ) -> Generator[str, None, Finish]:
        """What the model says next, in pieces that end on whole characters, and how it ended.

        Where the conversation begins with what was read already, only the rest is read; otherwise all of it is.
        The reply ends where the context does.

        Raises:
            UsageError: for messages that cannot be encoded or files that cannot be read, before anything is said.
        """
        dialogue = [self._preprocessor.turn(message) for message in messages]
        ids = self._encode(dialogue)
        self._require_room(ids)
        self._hear = hear
        try:
            return (yield from self._said(ids, dialogue, sampling))
        except Exception:
            self._forget()  # a pass that ended midway may have left any part of its keys and values
            raise

    def _said(self, ids: list[int], dialogue: Sequence[Turn], sampling: Sampling) -> Generator[str, None, Finish]:
        if not 0 < len(self._seen) < len(ids) or ids[: len(self._seen)] != self._seen:
            self._forget()
        logits = self._read(ids[len(self._seen) :], dialogue)
        most = min(sampling.max_tokens, self._context - len(ids) + 1)  # the last one is not read
        chosen: list[int] = []
        following = generate_ids(self._step, logits, sampling=replace(sampling, max_tokens=most), stops=self._stops)
        pieces = self._preprocessor.tokenizer.stream(_noted(following, chosen))
        stopped = yield from until(pieces, sampling.stop)
        return Finish(len(ids), len(chosen), "stop" if stopped or len(chosen) < most else "length")

    def _forget(self) -> None:
        self._reader.begin()
        self._seen: list[int] = []
        self._images = self._clips = 0

    def _encode(self, dialogue: Sequence[Turn]) -> list[int]:
        """Token ids; a plain text, which is gone on from as it is, stands alone."""
        if all(turn.role != "text" for turn in dialogue):
            require_own_turns(dialogue)
            return self._preprocessor.encode(dialogue)
        parts = [part for turn in dialogue for part in turn.parts]
        if len(dialogue) > 1 or not all(isinstance(part, str) for part in parts):
            raise UsageError("a plain text stands alone; pictures and sounds go into a user's message")
        return self._preprocessor.tokenizer.encode("".join(map(str, parts)))

    def _require_room(self, ids: Sequence[int]) -> None:
        """Refuse what exceeds the context at once: beyond it a model speaks, but no sense."""
        if len(ids) > self._context:
            raise ContextExceeded(
                f"the prompt has {len(ids):,} tokens, the context is {self._context:,}; shorten the prompt"
            )

    def _new_media(self, dialogue: Sequence[Turn]) -> tuple[list[Image], list[Clip]]:
        """Images and clips of the dialogue that were not read yet."""
        pictures, sounds = images(dialogue), clips(dialogue)
        new = pictures[self._images :], sounds[self._clips :]
        self._images, self._clips = len(pictures), len(sounds)
        return new

    def _read(self, ids: list[int], dialogue: Sequence[Turn]) -> NDArray[Any]:
        """A prompt: in chunks, but with media in one, for their placeholders must not be parted from them."""
        if not any(new := self._new_media(dialogue)):
            return prefill(self._step, ids)
        tap = self._hear()
        media = media_of(*new, self._preprocessor.settings.audio, tap=tap)
        (ids,) = tap("processor.token_ids", np.array([ids])).tolist()
        self._seen += ids
        return self._reader.read(ids, media, tap=tap)

    def _step(self, ids: list[int]) -> NDArray[Any]:
        self._seen += ids
        return self._reader.read(ids, tap=self._hear())


def _noted(ids: Iterable[int], into: list[int]) -> Iterator[int]:
    """The ids, each kept in a list before it is handed on."""
    for token in ids:
        into.append(token)
        yield token
