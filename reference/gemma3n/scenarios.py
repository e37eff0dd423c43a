"""The scenarios: which tokens are run, and in which chunks, to reach every part of a Gemma 3n language model."""

from __future__ import annotations

import random
from typing import Any

from parity.errors import UsageError
from parity.scenario import Scenario
from reference.common.schedules import SCHEDULES, Facts, Schedule, chunk, decode_steps, filled, require_context

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

FAINT = (("text.embed_tokens", 2.0**-10), ("text.altup.unembed.*.projection", 2.0**-14))
"""Brings root mean squares, about 1 for embeddings and up to 50 for last streams, below the floor of 1e-5^0.5."""


def facts_of(config: Any) -> Facts:
    """What the schedules need of a `transformers.Gemma3nConfig`.

    Ids of text end where vision's begin: where the tables were resized, the per-layer table reaches beyond.
    """
    text, audio = config.get_text_config(), config.audio_config
    return Facts(
        window=text.sliding_window,
        context=text.max_position_embeddings,
        text_ids=min(text.vocab_size_per_layer_input, config.vision_config.vocab_offset),
        ids=min(text.vocab_size, audio.vocab_offset + audio.vocab_size),
    )


def places_of(config: Any) -> tuple[int, list[int]]:
    """Soft tokens of a clip, and the strides of what shortens mel frames to them."""
    audio = config.audio_config
    steps = [*(along for along, _ in audio.sscp_conv_stride_size), audio.conf_reduction_factor]
    return config.audio_soft_tokens_per_image, steps


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


def _outside(name: str, prompt: list[int], facts: Facts) -> Scenario:
    """Every second token from outside the table, the first and the last id among them."""
    if facts.text_ids >= facts.ids:
        raise UsageError(f"scenario {name}: this checkpoint has no ids outside the per-layer table")
    draw = random.Random(1)
    outside = [facts.text_ids, facts.ids - 1, *(draw.randrange(facts.text_ids, facts.ids) for _ in range(6))]
    inside = filled(prompt, len(outside), facts)
    return Scenario(name, (chunk("prefill", [i for pair in zip(inside, outside, strict=False) for i in pair]),))


def _faint(name: str, prompt: list[int], facts: Facts) -> Scenario:
    return Scenario(name, (chunk("prefill", prompt), *decode_steps(1, 2)), scaled=FAINT)


BUILDERS: dict[str, Schedule] = {**SCHEDULES, "outside": _outside, "faint": _faint}
