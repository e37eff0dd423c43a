"""Schedules of text: how a prompt is cut into chunks, rows and decode steps, whatever the model."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from parity.errors import UsageError
from parity.scenario import Chunk, Scenario

SPECIAL_IDS = 4
"""Padding, end, begin and unknown: not drawn as filler."""
BLOCK = 256
"""Caches in blocks grow by so many positions: MLX's, mlx-lm's, mlx-vlm's."""


@dataclass(frozen=True)
class Facts:
    """What the schedules depend on, from the checkpoint's configuration."""

    window: int
    context: int
    text_ids: int
    ids: int


Schedule = Callable[[str, list[int], Facts], Scenario]
"""Makes the scenario of a name for a tokenized prompt."""


def require_context(scenario: Scenario, facts: Facts) -> Scenario:
    """The scenario, if it fits.

    Raises:
        UsageError: when it has more tokens than the context.
    """
    if scenario.length > facts.context:
        raise UsageError(
            f"scenario {scenario.name} has {scenario.length} tokens, the context is {facts.context}; shorten the prompt"
        )
    return scenario


def _one_shot(name: str, prompt: list[int], facts: Facts) -> Scenario:
    return Scenario(name, (chunk("prefill", prompt),), cache=False)


def _cached(name: str, prompt: list[int], facts: Facts) -> Scenario:
    return Scenario(name, (chunk("prefill", prompt),))


def _decode(name: str, prompt: list[int], facts: Facts) -> Scenario:
    return Scenario(name, (chunk("prefill", prompt), *decode_steps(1, 8)))


def _chunked(name: str, prompt: list[int], facts: Facts) -> Scenario:
    sizes = (5, facts.window + 3, 1, 7)
    tokens = filled(prompt, sum(sizes), facts)
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    ends[-1] = len(tokens)
    starts = [0, *ends[:-1]]
    pieces = enumerate(zip(starts, ends, strict=True), 1)
    return Scenario(name, tuple(chunk(f"chunk.{n}", tokens[start:end]) for n, (start, end) in pieces))


def _long(name: str, prompt: list[int], facts: Facts) -> Scenario:
    return Scenario(name, (chunk("prefill", filled(prompt, 2 * facts.window + 3, facts)), *decode_steps(1, 2)))


def _warm(name: str, prompt: list[int], facts: Facts) -> Scenario:
    suffix = chunk("suffix", filled([], 9, facts))
    return Scenario(name, (chunk("prefill", prompt), *decode_steps(1, 3), suffix, *decode_steps(4, 5)))


def _batch(name: str, prompt: list[int], facts: Facts) -> Scenario:
    longest = filled(prompt, max(len(prompt), 8), facts)
    rows = (longest, longest[:3], longest[:-2])
    padding = tuple(len(longest) - len(row) for row in rows)
    padded = tuple((0,) * blank + tuple(row) for blank, row in zip(padding, rows, strict=True))
    return Scenario(name, (Chunk("prefill", padded), *decode_steps(1, 2)), padding)


def _square(name: str, prompt: list[int], facts: Facts) -> Scenario:
    tokens = filled(prompt, 16, facts)
    rows = tuple(tuple(tokens[start : start + 4]) for start in range(0, 16, 4))
    return Scenario(name, (Chunk("prefill", rows),), (0,) * 4)


def _grown(name: str, prompt: list[int], facts: Facts) -> Scenario:
    """Decode steps fill the last two places of a block, and go on in the next."""
    blocks = -(-(len(prompt) + 2) // BLOCK)
    return Scenario(name, (chunk("prefill", filled(prompt, blocks * BLOCK - 2, facts)), *decode_steps(1, 4)))


def filled(prompt: list[int], length: int, facts: Facts) -> list[int]:
    """The prompt, drawn out with seeded text ids to at least `length`; varied, so that positions can be told apart."""
    draw = random.Random(0)
    missing = range(max(0, length - len(prompt)))
    return prompt + [draw.randrange(SPECIAL_IDS, facts.text_ids) for _ in missing]


def chunk(phase: str, tokens: list[int]) -> Chunk:
    """A chunk of one row."""
    return Chunk(phase, (tuple(tokens),))


def decode_steps(first: int, last: int) -> tuple[Chunk, ...]:
    """Decode steps that await the oracle's choice."""
    return tuple(Chunk(f"decode.{n}", None) for n in range(first, last + 1))


SCHEDULES: dict[str, Schedule] = {
    "one-shot": _one_shot,
    "cached": _cached,
    "decode": _decode,
    "chunked": _chunked,
    "long": _long,
    "warm": _warm,
    "batch": _batch,
    "square": _square,
    "grown": _grown,
}
