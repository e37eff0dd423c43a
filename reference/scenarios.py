"""The scenarios: which tokens are run, and in which chunks, to reach every part of a Gemma 3n language model."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from parity.errors import UsageError
from parity.scenario import Chunk, Scenario

MEANINGS = {
    "one-shot": "the prompt in one chunk, without a cache",
    "cached": "the prompt in one chunk, filling a cache",
    "decode": "prefill, then 8 decode steps forced to the oracle's tokens",
    "chunked": "prefill in uneven chunks, one of them longer than the sliding window",
    "long": "a prompt longer than the sliding window, then 2 decode steps",
    "warm": "a second turn on a warm cache: prefill, 3 decode steps, a suffix, 2 decode steps",
    "batch": "three left-padded prompts of unequal length, then 2 decode steps",
    "square": "as many rows as tokens, so that swapping batch and token keeps the shape",
    "outside": "ids outside the per-layer table: vision and audio ids as text",
    "grown": "a prompt that fills all but 2 places of 256, then 4 decode steps: a cache in blocks grows",
    "faint": "embeddings and last streams near zero: the floors of magnitudes and the epsilons of norms matter",
    "generate": "two turns as `generate` runs them: logits of the last token alone, the second turn read on",
}

SPECIAL_IDS = 4
"""Padding, end, begin and unknown: not drawn as filler."""
BLOCK = 256
"""Caches in blocks grow by so many positions: MLX's, mlx-lm's, mlx-vlm's."""
FAINT = (("text.embed_tokens", 2.0**-10), ("text.altup.unembed.*.projection", 2.0**-14))
"""Brings root mean squares, about 1 for embeddings and up to 50 for last streams, below the floor of 1e-5^0.5."""


@dataclass(frozen=True)
class Facts:
    """What the schedules depend on, from the checkpoint's configuration."""

    window: int
    context: int
    text_ids: int
    ids: int


def build(name: str, prompt: list[int], facts: Facts) -> Scenario:
    """Scenario `name` for a tokenized prompt.

    Raises:
        UsageError: for an unknown name, an empty prompt, or one that exceeds the context.
    """
    if name not in MEANINGS:
        raise UsageError(f"unknown scenario {name!r}; there are {', '.join(MEANINGS)}")
    if not prompt:
        raise UsageError("the prompt is empty; give some text, or no prompt at all for the single token 'What'")
    return require_context(BUILDERS[name](name, prompt, facts), facts)


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
    return Scenario(name, (_chunk("prefill", prompt),), cache=False)


def _cached(name: str, prompt: list[int], facts: Facts) -> Scenario:
    return Scenario(name, (_chunk("prefill", prompt),))


def _decode(name: str, prompt: list[int], facts: Facts) -> Scenario:
    return Scenario(name, (_chunk("prefill", prompt), *decode_steps(1, 8)))


def _chunked(name: str, prompt: list[int], facts: Facts) -> Scenario:
    sizes = (5, facts.window + 3, 1, 7)
    tokens = filled(prompt, sum(sizes), facts)
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    ends[-1] = len(tokens)
    starts = [0, *ends[:-1]]
    pieces = enumerate(zip(starts, ends, strict=True), 1)
    return Scenario(name, tuple(_chunk(f"chunk.{n}", tokens[start:end]) for n, (start, end) in pieces))


def _long(name: str, prompt: list[int], facts: Facts) -> Scenario:
    return Scenario(name, (_chunk("prefill", filled(prompt, 2 * facts.window + 3, facts)), *decode_steps(1, 2)))


def _warm(name: str, prompt: list[int], facts: Facts) -> Scenario:
    suffix = _chunk("suffix", filled([], 9, facts))
    return Scenario(name, (_chunk("prefill", prompt), *decode_steps(1, 3), suffix, *decode_steps(4, 5)))


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


def _outside(name: str, prompt: list[int], facts: Facts) -> Scenario:
    """Every second token from outside the table, the first and the last id among them."""
    draw = random.Random(1)
    outside = [facts.text_ids, facts.ids - 1, *(draw.randrange(facts.text_ids, facts.ids) for _ in range(6))]
    inside = filled(prompt, len(outside), facts)
    return Scenario(name, (_chunk("prefill", [i for pair in zip(inside, outside, strict=False) for i in pair]),))


def _grown(name: str, prompt: list[int], facts: Facts) -> Scenario:
    """Decode steps fill the last two places of a block, and go on in the next."""
    blocks = -(-(len(prompt) + 2) // BLOCK)
    return Scenario(name, (_chunk("prefill", filled(prompt, blocks * BLOCK - 2, facts)), *decode_steps(1, 4)))


def _faint(name: str, prompt: list[int], facts: Facts) -> Scenario:
    return Scenario(name, (_chunk("prefill", prompt), *decode_steps(1, 2)), scaled=FAINT)


def filled(prompt: list[int], length: int, facts: Facts) -> list[int]:
    """The prompt, drawn out with seeded text ids to at least `length`; varied, so that positions can be told apart."""
    draw = random.Random(0)
    missing = range(max(0, length - len(prompt)))
    return prompt + [draw.randrange(SPECIAL_IDS, facts.text_ids) for _ in missing]


def _chunk(phase: str, tokens: list[int]) -> Chunk:
    return Chunk(phase, (tuple(tokens),))


def decode_steps(first: int, last: int) -> tuple[Chunk, ...]:
    """Decode steps that await the oracle's choice."""
    return tuple(Chunk(f"decode.{n}", None) for n in range(first, last + 1))


BUILDERS: dict[str, Callable[[str, list[int], Facts], Scenario]] = {
    "one-shot": _one_shot,
    "cached": _cached,
    "decode": _decode,
    "chunked": _chunked,
    "long": _long,
    "warm": _warm,
    "batch": _batch,
    "square": _square,
    "outside": _outside,
    "grown": _grown,
    "faint": _faint,
}
