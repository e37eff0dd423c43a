"""What is fixed when a model is compiled, and how chunks of any length are cut into calls of those shapes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from implementations.gemma3n.rope import SLIDING
from parity.errors import UsageError

ALIGNMENT = 32
"""The engine wants the widths of its state in multiples of 32."""


@dataclass(frozen=True)
class Call:
    """Tokens of a chunk that run in one compiled call, by their index in the conversation, padding included.

    Attributes:
        chunk: the chunk's first token.
        begin: the call's first token.
        end: behind its last token.
        size: tokens of the compiled call; those beyond ``end - begin`` are padding.
    """

    chunk: int
    begin: int
    end: int
    size: int

    @property
    def count(self) -> int:
        """Real tokens."""
        return self.end - self.begin

    @property
    def last(self) -> Call:
        """The call's last token, as a chunk of its own."""
        return Call(self.end - 1, self.end - 1, self.end, 1)

    @property
    def tokens(self) -> slice:
        """The call's place on the chunk's token axis."""
        return slice(self.begin - self.chunk, self.end - self.chunk)


@dataclass(frozen=True)
class Shapes:
    """The static shapes.

    Attributes:
        context: positions of a conversation, left padding included.
        batch: tokens of a prefill call.
        window: positions that a sliding layer's query sees, its own included.
    """

    context: int
    batch: int
    window: int

    def slots(self, kind: str) -> int:
        """Slots of a cache: all positions, or a ring of what a prefill call's first query sees and its own tokens.

        With a window of 16 and calls of 16 tokens that is 15 + 16, in multiples of 32: a ring of 32.
        """
        if kind != SLIDING:
            return self.context
        ring = -(-(self.window - 1 + self.batch) // ALIGNMENT) * ALIGNMENT
        return min(ring, self.context)

    def earliest(self, kind: str, index: int) -> int:
        """The first index that a query at `index` sees."""
        return max(0, index - self.window + 1) if kind == SLIDING else 0

    def places(self, kind: str, begin: int, end: int) -> slice | list[int]:
        """The slots of indices `begin` to `end`; a ring begins anew when it is full. A slice where they follow.

        In a ring of 32, the indices 28 to 32 are in ``slice(28, 32)``, and 30 to 34 in ``[30, 31, 0, 1]``.
        """
        slots = self.slots(kind)
        first, last = begin % slots, (end - 1) % slots
        if last - first == end - 1 - begin:
            return slice(first, last + 1)
        return [index % slots for index in range(begin, end)]

    def calls(self, start: int, count: int) -> Iterator[Call]:
        """Cut a chunk of `count` tokens that begins at `start` into calls; a single token is decoded.

        Raises:
            UsageError: for a chunk that ends beyond the compiled context.
        """
        end = start + count
        if end > self.context:
            raise UsageError(
                f"backend ane: {count} tokens behind {start} exceed the compiled context of {self.context}; "
                f"compile a longer one with ane@context={end}"
            )
        for begin in range(start, end, self.batch):
            stop = min(begin + self.batch, end)
            yield Call(start, begin, stop, 1 if stop - begin == 1 else self.batch)
