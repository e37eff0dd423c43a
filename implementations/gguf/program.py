"""Runs a file on chunks of rows: cuts them into parts, and hands llama.cpp one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.config import Config
from implementations.gemma3n.rope import SLIDING
from implementations.gguf.engine.library import Library
from implementations.gguf.graph import EMBEDDED, MERGED_AUDIO, MERGED_IMAGE, table
from implementations.gguf.layout import Layout
from implementations.gguf.options import Options
from implementations.gguf.part import Part, Slots
from implementations.gguf.session import Session
from implementations.gguf.watch import Watch
from parity.errors import UsageError
from parity.tap import SILENT, Tap

Soft = Mapping[int, NDArray[np.float32]]
"""Rows of media ``[picture or clip, token, hidden]``, by the id of their placeholders."""
NOTHING: Soft = {}


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
        soft: Soft = NOTHING,
        *,
        tap: Tap = SILENT,
        last_only: bool = False,
    ) -> NDArray[np.float32]:
        """Run the next chunk.

        Args:
            token_ids: ``[batch, token]``.
            soft: by the id of its placeholders what stands for them, in their order.
            tap: hears every step.
            last_only: whether logits are wanted of the last token alone.

        Returns:
            Logits ``[batch, token or 1, vocabulary]``.

        Raises:
            UsageError: for more tokens than there is room for, or media that do not fit the ids.
        """
        self._require_room(token_ids.shape[1])
        places = self._places(token_ids, soft)
        rows = np.zeros((*places.shape, self._text.hidden_size), np.float32)
        for placeholder, tokens in soft.items():
            rows[token_ids == placeholder] = tokens.reshape(-1, tokens.shape[-1])
        begin, self._read = self._read, self._read + token_ids.shape[1]
        token_ids = tap("text.input_ids", token_ids)
        tap("text.position_ids", Part(begin, self._read, begin, self._read, self._padding, slice(None)).positions)
        few = last_only and tap is SILENT  # with a tap, the last steps are emitted of every token
        parts, without = list(self._parts(begin, places)), self._without(soft)
        logits = np.zeros((len(places), 1 if last_only else places.shape[1], self._session.vocabulary), np.float32)
        for part in parts:
            columns = slice(part.begin - begin, part.end - begin)
            self.watch.about(whole=len(parts) == 1, soft=part.soft, without=without)
            found = self._part((rows if part.soft else token_ids)[:, columns], part, tap, last_only=few)
            if not last_only:
                logits[part.rows, columns] = found
            elif part.end == part.last:
                logits[part.rows] = found[:, -1:]
        return logits

    def _places(self, token_ids: NDArray[np.int64], soft: Soft) -> NDArray[np.bool_]:
        """Where rows of media are read, ``[batch, token]``."""
        for placeholder, tokens in soft.items():
            if (count := int((token_ids == placeholder).sum())) != (made := math.prod(tokens.shape[:2])):
                raise UsageError(f"{made} soft tokens for {count} places in the prompt; give its media with it")
        return np.isin(token_ids, list(soft))

    def _without(self, soft: Soft) -> set[str]:
        """The steps that a chunk does not have: rows of media are there when it enters the graph, all at once."""
        if not soft:
            return {MERGED_IMAGE, MERGED_AUDIO}
        return {EMBEDDED, MERGED_IMAGE if self.config.audio_token_id in soft else MERGED_AUDIO}

    def _parts(self, begin: int, places: NDArray[np.bool_]) -> Iterator[Part]:
        """What is computed together: all rows, but each by itself where media are read, which begin anywhere in it."""
        count = len(places)
        groups = [slice(row, row + 1) for row in range(count)] if places.any() else [slice(0, count)]
        for rows in groups:
            yield from self._columns(begin, places[rows.start], rows)

    def _columns(self, begin: int, places: NDArray[np.bool_], rows: slice) -> Iterator[Part]:
        """Columns of some rows: no more than there is room for, and of ids or of media's rows alone."""
        changes = begin + 1 + np.flatnonzero(places[1:] != places[:-1])
        columns = max(1, self._chunk // (rows.stop - rows.start))
        ends = [begin, *changes.tolist(), begin + len(places)]
        cuts = [*(cut for one, end in pairwise(ends) for cut in range(one, end, columns)), ends[-1]]
        for one, end in pairwise(cuts):
            yield Part(one, end, begin, ends[-1], self._padding, rows, bool(places[one - begin]))

    def _part(self, given: NDArray[Any], part: Part, tap: Tap, *, last_only: bool) -> NDArray[np.float32]:
        """Logits of a part, ``[row, token or 1, vocabulary]``; zeros for padding."""
        tokens = part.tokens[part.rows]
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
