"""Scenarios whose prompt holds pictures and sounds: the same schedules, in the chat template, through the processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from parity.errors import UsageError
from parity.media import Part, Prompt
from parity.scenario import Chunk, Scenario
from reference.common.conversation import NAME
from reference.common.schedules import Facts, decode_steps, filled, require_context

Rows = tuple[tuple[int, ...], ...]
Process = Callable[[Sequence[Prompt]], tuple[Rows, tuple[int, ...]]]
"""Makes token ids ``[batch][token]`` and each row's left padding of a batch of prompts."""


def build_media(name: str, prompt: Prompt, process: Process, facts: Facts) -> Scenario:
    """Scenario `name` for a prompt with media.

    Raises:
        UsageError: for a scenario that media cannot run in, or a prompt that exceeds the context.
    """
    if name not in BUILDERS:
        raise UsageError(f"scenario {name!r} is not for pictures and sounds; choose of {', '.join(WITH_MEDIA)}")
    return require_context(BUILDERS[name](name, prompt, process, facts), facts)


def _one_shot(name: str, prompt: Prompt, process: Process, facts: Facts) -> Scenario:
    return Scenario(name, (_chunk(process, prompt),), cache=False)


def _cached(name: str, prompt: Prompt, process: Process, facts: Facts) -> Scenario:
    return Scenario(name, (_chunk(process, prompt),))


def _decode(name: str, prompt: Prompt, process: Process, facts: Facts) -> Scenario:
    return Scenario(name, (_chunk(process, prompt), *decode_steps(1, 8)))


def _warm(name: str, prompt: Prompt, process: Process, facts: Facts) -> Scenario:
    suffix = Chunk("suffix", (tuple(filled([], 9, facts)),))
    return Scenario(name, (_chunk(process, prompt), *decode_steps(1, 3), suffix, *decode_steps(4, 5)))


def _batch(name: str, prompt: Prompt, process: Process, facts: Facts) -> Scenario:
    """The prompt, its text alone, and the prompt with more text: rows of unequal length, one without media."""
    text = tuple(part for part in prompt if part.kind == "text") or (Part("text", "What"),)
    prompts = (prompt, text, _longer(prompt, " Say it in one word."))
    rows, padding = process(prompts)
    return Scenario(name, (Chunk("prefill", rows, prompts), *decode_steps(1, 2)), padding)


def _longer(prompt: Prompt, text: str) -> Prompt:
    """With more text at its end, in the same part: a template may drop the blanks between two."""
    *before, last = prompt
    return (*before, Part("text", last.value + text)) if last.kind == "text" else (*prompt, Part("text", text))


def _chunk(process: Process, prompt: Prompt) -> Chunk:
    rows, _ = process((prompt,))
    return Chunk("prefill", rows, (prompt,))


BUILDERS: dict[str, Callable[[str, Prompt, Process, Facts], Scenario]] = {
    "one-shot": _one_shot,
    "cached": _cached,
    "decode": _decode,
    "warm": _warm,
    "batch": _batch,
}
WITH_MEDIA = (*BUILDERS, NAME)
