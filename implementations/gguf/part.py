"""What is computed together, and where the cache has its keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Rows and columns of a chunk that are computed together.

    Attributes:
        begin: of the columns, in the conversation.
        end: behind the last.
        chunk: column of the conversation in which the chunk begins.
        last: behind the last column of the chunk.
        padding: columns of each row of the conversation that are no tokens.
        rows: those that are computed.
        soft: whether rows of media are read in place of token ids.
    """

    begin: int
    end: int
    chunk: int
    last: int
    padding: tuple[int, ...]
    rows: slice
    soft: bool = False

    @property
    def positions(self) -> Indices:
        """Position of each token, ``[row column]``; negative for padding."""
        return np.arange(self.begin, self.end)[None] - np.array(self.padding)[:, None]

    @property
    def tokens(self) -> Indices:
        """Where each token stands among the computed ones, ``[row column]``; -1 for padding and in other rows."""
        computed = np.zeros((len(self.padding), 1), np.bool_)
        computed[self.rows] = True
        real = (self.positions >= 0) & computed
        return np.where(real, np.cumsum(real).reshape(real.shape) - 1, -1)


class Slots:
    """Where the cache of a kind of layers has the key of each token.

    Args:
        rows: of the conversation.
        window: columns that a query sees, its own included; None for all.
    """

    def __init__(self, rows: int, window: int | None) -> None:
        self._window = window
        self._held = np.full((rows, 0), -1, np.int64)

    def note(self, part: Part, slots: Indices) -> None:
        """Remember where the tokens of a part were put; `slots` are in their order."""
        held = np.full((len(part.padding), max(part.end, self._held.shape[1])), -1, np.int64)
        held[:, : self._held.shape[1]] = self._held
        held[:, part.begin : part.end][part.tokens >= 0] = slots
        self._held = held

    def seen(self, part: Part) -> Indices:
        """Slots of the keys that a part's queries see, ``[row key]`` of its rows; -1 for padding."""
        return self._held[part.rows, self._first(part.begin) : part.end]

    def place(self, part: Part) -> slice:
        """Which of the keys that the chunk sees those are."""
        first = self._first(part.chunk)
        return slice(self._first(part.begin) - first, part.end - first)

    def keys(self, part: Part) -> int:
        """How many keys the chunk sees."""
        return part.last - self._first(part.chunk)

    def _first(self, column: int) -> int:
        """The first column that a query in `column` sees."""
        return 0 if self._window is None else max(0, column - self._window + 1)
