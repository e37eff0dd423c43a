"""Scenarios of any language model: schedules that depend on no architecture, and those that a table is learned of."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from parity.errors import UsageError
from parity.learning.taps import LESSONS
from parity.scenario import Chunk, Scenario
from reference.common.schedules import SCHEDULES, SPECIAL_IDS, Facts, chunk, decode_steps, require_context

MEANINGS = {
    "one-shot": "the prompt in one chunk, filling a cache",
    "decode": "prefill, then 8 decode steps forced to the oracle's tokens",
    "reply": "prefill, then 64 decode steps forced to the oracle's tokens",
    "chunked": "prefill in uneven chunks, one of them longer than the sliding window",
    "long": "a prompt longer than the sliding window, then 2 decode steps",
    "batch": "three left-padded prompts of unequal length, then 2 decode steps",
    **dict.fromkeys(LESSONS, "what a table is learned of: several rows of drawn tokens"),
}
WINDOW = 16
"""Where a model has no sliding window, the schedules that cross one cross this many tokens."""
DRAWN = 11
"""Tokens where no prompt is given."""
REPLY = 64
"""Decode steps of a reply: a few sentences."""


def survey_scenarios(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that show most of an architecture; the first only where it looks back on a window of tokens.

    Rows of unequal length come last, for what crashes is run no more.
    """
    has_window = any("window" in key and type(value) is int and value > 1 for key, value in config.items())
    return ("one-shot", "long", "batch") if has_window else ("long", "batch")


def facts_of(config: Any) -> Facts:
    """What the schedules need of a configuration of transformers."""
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None) or WINDOW
    # Ids beyond the table of per-layer inputs stand for pictures and sounds: Gemma 3n looks them up in the towers'.
    text_ids = min(text.vocab_size, getattr(text, "vocab_size_per_layer_input", None) or text.vocab_size)
    return Facts(window, getattr(text, "max_position_embeddings", 2048), text_ids, text.vocab_size)


def drawn(rows: int, tokens: int, facts: Facts) -> list[list[int]]:
    """Rows of tokens, the same at each call."""
    draw = random.Random(tokens)
    return [[draw.randrange(SPECIAL_IDS, facts.text_ids) for _ in range(tokens)] for _ in range(rows)]


def build(name: str, prompt: list[int], facts: Facts) -> Scenario:
    """Scenario `name` for a tokenized prompt.

    Raises:
        UsageError: for an unknown name, or a prompt that exceeds the context.
    """
    if name not in MEANINGS:
        raise UsageError(f"unknown scenario {name!r}; there are {', '.join(MEANINGS)}")
    if name in LESSONS:
        return _learned(name, facts)
    if name == "reply":
        return require_context(Scenario(name, (chunk("prefill", prompt), *decode_steps(1, REPLY))), facts)
    schedule = SCHEDULES["cached" if name == "one-shot" else name]
    return require_context(schedule(name, prompt, facts), facts)


def _learned(name: str, facts: Facts) -> Scenario:
    lesson = LESSONS[name]
    chunk = Chunk("prefill", tuple(map(tuple, drawn(lesson.rows, lesson.tokens, facts))))
    return Scenario(name, (chunk, *decode_steps(1, 1)), (0,) * lesson.rows)
