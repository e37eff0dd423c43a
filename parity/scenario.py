"""Scenarios: what a party runs. Token ids, cut into chunks, with or without a cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.errors import UsageError
from parity.media import Part, Prompt, parse
from parity.names import require_name


@dataclass(frozen=True)
class Chunk:
    """One call of the forward pass.

    Attributes:
        phase: its name in records: ``prefill``, ``chunk.2``, ``decode.5``, ``suffix``.
        tokens: ids per batch row, ``[batch][token]``; None until the oracle has chosen them (greedy decode).
        prompts: what the user said, per batch row, where the chunk is made from it; a backend makes its own ids,
            pixels and features of it, which are steps.
        turn: what the user says in a conversation, where the chunk is what is read of it.
    """

    phase: str
    tokens: tuple[tuple[int, ...], ...] | None
    prompts: tuple[Prompt, ...] = ()
    turn: Prompt = ()

    @property
    def length(self) -> int:
        """Tokens per row; a chunk that awaits the oracle's choice has one."""
        if self.tokens is None:
            return 1
        return len(self.tokens[0]) if self.tokens else 0

    @property
    def holds(self) -> frozenset[str]:
        """What steps may need: ``prompt``, and the media in it."""
        kinds = {part.kind for prompt in self.prompts for part in prompt} - {"text"}
        return frozenset({"prompt", *kinds} if self.prompts else ())

    def mapped(self, change: Callable[[Prompt], Prompt]) -> Chunk:
        """The chunk with `change` made to what the user said."""
        return replace(self, prompts=tuple(map(change, self.prompts)), turn=change(self.turn))

    def to_json(self) -> dict[str, Any]:
        """Plain data; a turn only where there is one."""
        return {name: value for name, value in asdict(self).items() if name != "turn" or value}


@dataclass(frozen=True)
class Scenario:
    """Inputs and their schedule.

    Attributes:
        name: the name in the catalogue, e.g. ``chunked``.
        chunks: calls of the forward pass in order.
        padding: left-padding tokens per batch row; positions count from the first real token.
        cache: whether keys and values are kept between chunks; without one there is a single chunk.
        scaled: patterns of steps' names, and the factor that the value of each is multiplied by before it is recorded
            and gone on with, whoever runs: inputs that no tokens give. A power of two costs no rounding.

    Raises:
        UsageError: for no chunk or no token, rows of unequal length, several chunks without a cache, two chunks of one
            name, or padding that leaves nothing to compare.
    """

    name: str
    chunks: tuple[Chunk, ...]
    padding: tuple[int, ...] = (0,)
    cache: bool = True
    scaled: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        self._require_rows()
        self._require_tokens_behind_padding()

    def _require_rows(self) -> None:
        phases = [chunk.phase for chunk in self.chunks]
        if twice := [phase for phase in phases if phases.count(phase) > 1]:
            raise UsageError(f"scenario {self.name} has two chunks called {twice[0]}; give each a name of its own")
        if not self.chunks or any(chunk.length == 0 for chunk in self.chunks):
            raise UsageError(f"scenario {self.name} has nothing to run: give a prompt of at least one token")
        if len(self.chunks) > 1 and not self.cache:
            raise UsageError(f"scenario {self.name} has {len(self.chunks)} chunks but no cache to carry them")
        for chunk in self.chunks:
            lengths = [chunk.length] * self.batch if chunk.tokens is None else [len(row) for row in chunk.tokens]
            if lengths != [chunk.length] * self.batch or len(chunk.prompts) not in (0, self.batch):
                raise UsageError(
                    f"scenario {self.name}, {chunk.phase}: rows of {lengths} tokens for a batch of {self.batch}"
                )

    def _require_tokens_behind_padding(self) -> None:
        """Padding is not compared, so each row has more tokens than that, and the first chunk some that are none."""
        most, first = self.length - 1, self.chunks[0]
        if not all(0 <= padding <= most for padding in self.padding):
            raise UsageError(
                f"scenario {self.name} pads its rows by {[*self.padding]} of {self.length} tokens, which leaves "
                f"nothing of a row to compare; give paddings of 0 to {most}"
            )
        if min(self.padding) >= first.length:
            raise UsageError(
                f"scenario {self.name} pads its rows by {[*self.padding]}, which is all of {first.phase}; leave at "
                "least one real token in it"
            )

    @property
    def batch(self) -> int:
        """Rows that run together."""
        return len(self.padding)

    @cached_property
    def turns(self) -> tuple[tuple[Chunk, ...], ...]:
        """The chunks of each turn of a conversation: what is read of the user's words, then the reply's tokens.

        Empty where nobody talks. In a conversation a chunk's logits are those of its last token alone.
        """
        begins = [at for at, chunk in enumerate(self.chunks) if chunk.turn]
        return tuple(self.chunks[begin:end] for begin, end in pairwise([*begins, len(self.chunks)]))

    @property
    def resolved(self) -> bool:
        """True once every chunk has its tokens."""
        return all(chunk.tokens is not None for chunk in self.chunks)

    @property
    def length(self) -> int:
        """Tokens per row over all chunks, padding included."""
        return sum(chunk.length for chunk in self.chunks)

    def chunk(self, phase: str) -> Chunk:
        """The chunk of that phase.

        Raises:
            UsageError: where there is none.
        """
        for chunk in self.chunks:
            if chunk.phase == phase:
                return chunk
        raise UsageError(f"scenario {self.name} has no phase {phase}")

    def with_tokens(self, phase: str, tokens: NDArray[np.integer[Any]]) -> Scenario:
        """The scenario with the oracle's choice (shape ``[batch, 1]``) put into `phase`."""
        rows = tuple(tuple(int(token) for token in row) for row in tokens)
        chunks = tuple(replace(chunk, tokens=rows) if chunk.phase == phase else chunk for chunk in self.chunks)
        return replace(self, chunks=chunks)

    def mapped(self, change: Callable[[Prompt], Prompt]) -> Scenario:
        """The scenario with `change` made to every prompt."""
        return replace(self, chunks=tuple(chunk.mapped(change) for chunk in self.chunks))

    def factor(self, step: str) -> float | None:
        """What a step's value is multiplied by, if it is."""
        return next((factor for pattern, factor in self.scaled if fnmatchcase(step, pattern)), None)

    def end(self, phase: str) -> int:
        """Index behind the last token of `phase`, counted from the first token of the first chunk."""
        total = 0
        for chunk in self.chunks:
            total += chunk.length
            if chunk.phase == phase:
                return total
        raise UsageError(f"scenario {self.name} has no phase {phase}")

    def valid(self, phase: str, count: int) -> NDArray[np.bool_]:
        """Which of the last `count` indices up to the end of `phase` are real tokens, ``[batch, count]``.

        Serves the token axis (count = the chunk's length) and the key axis (count = the keys that are visible).
        """
        end = self.end(phase)
        return np.arange(end - count, end)[None, :] >= np.asarray(self.padding)[:, None]

    def to_json(self) -> dict[str, Any]:
        """Plain data for manifests and jobs."""
        data = asdict(self) | {"chunks": [chunk.to_json() for chunk in self.chunks], "scaled": dict(self.scaled)}
        return data if self.scaled else {name: value for name, value in data.items() if name != "scaled"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scenario:
        """Read what `to_json` wrote. Its names, and those of its chunks, will name files.

        Raises:
            UsageError: when a field is missing or of another type, or a name may not be a file's.
        """
        try:
            name = require_name("a scenario", data["name"])
            chunks = tuple(map(_chunk, data["chunks"]))
            scaled = tuple((str(name), _factor(factor)) for name, factor in data.get("scaled", {}).items())
            return cls(name, chunks, tuple(int(p) for p in data["padding"]), bool(data["cache"]), scaled)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"the scenario cannot be read ({error!r}); write the trace again") from error


@dataclass(frozen=True)
class Drawn:
    """An input that a reference has drawn, for a calibration.

    Attributes:
        scenario: name of the reference's scenario.
        prompt: the text.
        media: pictures and sounds, files that were written for it.
        shown: what is in each of them, in a few words.
    """

    scenario: str
    prompt: str
    media: tuple[Part, ...] = ()
    shown: tuple[str, ...] = ()


def _factor(value: Any) -> float:
    """A factor by which nothing is lost: with 0 every party would have the same, and be right."""
    factor = float(value)
    if not math.isfinite(factor) or factor == 0:
        raise ValueError(f"a value cannot be scaled by {value!r}")
    return factor


def _chunk(data: Mapping[str, Any]) -> Chunk:
    given = data["tokens"]
    tokens = None if given is None else tuple(tuple(int(token) for token in row) for row in given)
    phase = require_name("a chunk of a scenario", data["phase"])
    return Chunk(phase, tokens, tuple(map(parse, data.get("prompts", ()))), parse(data.get("turn", ())))
