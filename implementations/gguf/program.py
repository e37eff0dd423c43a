"""Runs a file on chunks of rows: cuts them into parts, and hands llama.cpp one after the other."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.config import Config
from implementations.gemma3n.rope import SLIDING
from implementations.gguf.engine.library import Library
from implementations.gguf.graph import EMBEDDED, MERGED, table
from implementations.gguf.layout import Layout
from implementations.gguf.options import Options
from implementations.gguf.part import Part, Slots
from implementations.gguf.session import Session
from implementations.gguf.watch import Watch
from parity.errors import UsageError
from parity.tap import SILENT, Tap


class Program:
    """A model and the conversation that it reads.

    Args:
        library: llama.cpp.
        session: the loaded file.
        config: of the checkpoint that the file is of.
        options: how it is run.

    Raises:
        UsageError: where the file is of another shape.
    """

    def __init__(self, library: Library, session: Session, config: Config, options: Options) -> None:
        self.config = config
        self._session, self._text, self._chunk = session, config.text, options.chunk
        self._context = min(options.context or self._text.max_position_embeddings, self._text.max_position_embeddings)
        _require_same(session, config)
        kinds = self._text.layer_types[: self._text.first_shared_layer]
        tables = {soft: table(self._text, options.flash, soft=soft) for soft in (False, True)}
        self.watch = Watch(library, tables, {kinds.index(kind): kind for kind in kinds})
        self.start((0,))

    def start(self, padding: tuple[int, ...]) -> None:
        """Begin a conversation of rows that are left-padded by so many tokens."""
        window = {kind: self._text.sliding_window if kind == SLIDING else None for kind in self._text.layer_types}
        self._slots = {kind: Slots(len(padding), seen) for kind, seen in window.items()}
        self._padding, self._read = padding, 0
        self._session.begin(len(padding), self._context, self.watch.callback)

    def run(
        self,
        token_ids: NDArray[np.int64],
        soft: NDArray[np.float32] | None = None,
        *,
        tap: Tap = SILENT,
        last_only: bool = False,
    ) -> NDArray[np.float32]:
        """Run the next chunk.

        Args:
            token_ids: ``[batch, token]``.
            soft: rows of pictures ``[image, token, hidden]``, in the order of their placeholders.
            tap: hears every step.
            last_only: whether logits are wanted of the last token alone.

        Returns:
            Logits ``[batch, token or 1, vocabulary]``.

        Raises:
            UsageError: for more tokens than there is room for, or pictures that do not fit the ids.
        """
        self._require_room(token_ids.shape[1])
        places = self._places(token_ids, soft)
        begin, self._read = self._read, self._read + token_ids.shape[1]
        token_ids = tap("text.input_ids", token_ids)
        tap("text.position_ids", Part(begin, self._read, begin, self._padding).positions)
        few = last_only and tap is SILENT  # with a tap, the last steps are emitted of every token
        parts = self._parts(begin, places)
        rows = np.zeros((1, *places.shape, self._text.hidden_size), np.float32)
        if soft is not None:
            rows[0, places] = soft.reshape(-1, soft.shape[-1])
        without = MERGED if soft is None else EMBEDDED
        logits = []
        for part in parts:
            columns = slice(part.begin - part.chunk, part.end - part.chunk)
            self.watch.about(whole=len(parts) == 1, soft=part.soft, without=without)
            logits.append(self._part((rows if part.soft else token_ids)[:, columns], part, tap, last_only=few))
        return logits[-1][:, -1:] if last_only else np.concatenate(logits, 1)

    def _places(self, token_ids: NDArray[np.int64], soft: NDArray[np.float32] | None) -> NDArray[np.bool_]:
        """Which columns are rows of pictures."""
        if soft is None:
            return np.zeros(token_ids.shape[1], np.bool_)
        if len(token_ids) > 1:
            raise UsageError(
                "backend llama-cpp sees pictures in a conversation of one row; run a scenario without batch"
            )
        found: NDArray[np.bool_] = token_ids[0] == self.config.image_token_id
        if (count := int(found.sum())) != (made := math.prod(soft.shape[:2])):
            raise UsageError(f"{made} soft tokens for {count} places in the prompt; give its media with it")
        return found

    def _parts(self, begin: int, places: NDArray[np.bool_]) -> list[Part]:
        """Columns that are computed together: no more than there is room for, and of ids or of rows alone."""
        changes = begin + 1 + np.flatnonzero(places[1:] != places[:-1])
        columns = max(1, self._chunk // len(self._padding))
        ends = [begin, *changes.tolist(), begin + len(places)]
        cuts = [*(cut for one, end in pairwise(ends) for cut in range(one, end, columns)), ends[-1]]
        return [Part(one, end, begin, self._padding, bool(places[one - begin])) for one, end in pairwise(cuts)]

    def _part(self, given: NDArray[Any], part: Part, tap: Tap, *, last_only: bool) -> NDArray[np.float32]:
        """Logits of a part, ``[batch, token or 1, vocabulary]``; zeros for padding."""
        tokens = part.tokens
        kept = tokens[:, -1:] if last_only else tokens
        logits = np.zeros((*kept.shape, self._session.vocabulary), np.float32)
        if not (tokens >= 0).any():
            return logits
        self.watch.begin(tap, Layout(self._text, part, self._slots))
        found = self._session.decode(given, part, last_only=last_only)
        self.watch.end()
        logits[kept >= 0] = found
        return logits

    def _require_room(self, tokens: int) -> None:
        if (wanted := self._read + tokens) > self._context:
            raise UsageError(f"{wanted:,} tokens, the context is {self._context:,}; shorten the prompt")


def _require_same(session: Session, config: Config) -> None:
    expected = {
        "hidden_size": (session.hidden, config.text.hidden_size),
        "num_hidden_layers": (session.layers, config.text.num_hidden_layers),
        "vocab_size": (session.vocabulary, config.text.vocab_size),
    }
    for name, (found, wanted) in expected.items():
        if found != wanted:
            raise UsageError(f"the GGUF file has {name} {found:,}, the checkpoint {wanted:,}: it is of another one")
