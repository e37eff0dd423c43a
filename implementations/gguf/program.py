"""Runs a file on chunks of rows: cuts them into parts, and hands llama.cpp one after the other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.config import Config
from implementations.gemma3n.rope import SLIDING
from implementations.gguf.graph import table
from implementations.gguf.layout import Layout
from implementations.gguf.library import Library
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
        self.watch = Watch(library, table(self._text, options.flash), {kinds.index(kind): kind for kind in kinds})
        self.start((0,))

    def start(self, padding: tuple[int, ...]) -> None:
        """Begin a conversation of rows that are left-padded by so many tokens."""
        window = {kind: self._text.sliding_window if kind == SLIDING else None for kind in self._text.layer_types}
        self._slots = {kind: Slots(len(padding), seen) for kind, seen in window.items()}
        self._padding, self._read = padding, 0
        self._session.begin(len(padding), self._context, self.watch.callback)

    def run(self, token_ids: NDArray[np.int64], *, tap: Tap = SILENT, last_only: bool = False) -> NDArray[np.float32]:
        """Run the next chunk of token ids ``[batch, token]``; returns logits ``[batch, token or 1, vocabulary]``.

        Raises:
            UsageError: for more tokens than there is room for.
        """
        self._require_room(token_ids.shape[1])
        begin, self._read = self._read, self._read + token_ids.shape[1]
        token_ids = tap("text.input_ids", token_ids)
        tap("text.position_ids", Part(begin, self._read, begin, self._padding).positions)
        few = last_only and tap is SILENT  # with a tap, the last steps are emitted of every token
        columns = max(1, self._chunk // len(self._padding))
        cuts = [*range(begin, self._read, columns), self._read]
        parts = [Part(one, end, begin, self._padding) for one, end in pairwise(cuts)]
        logits = [self._part(token_ids, part, tap, whole=len(parts) == 1, last_only=few) for part in parts]
        return logits[-1][:, -1:] if last_only else np.concatenate(logits, 1)

    def _part(
        self, token_ids: NDArray[np.int64], part: Part, tap: Tap, *, whole: bool, last_only: bool
    ) -> NDArray[np.float32]:
        """Logits of a part, ``[batch, token or 1, vocabulary]``; zeros for padding."""
        tokens = part.tokens
        kept = tokens[:, -1:] if last_only else tokens
        logits = np.zeros((*kept.shape, self._session.vocabulary), np.float32)
        if not (tokens >= 0).any():
            return logits
        self.watch.begin(tap, Layout(self._text, part, self._slots), whole=whole)
        ids = token_ids[:, part.begin - part.chunk : part.end - part.chunk]
        found = self._session.decode(ids, part, last_only=last_only)
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
