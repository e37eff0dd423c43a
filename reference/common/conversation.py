"""The scenario of a conversation: what is read and said in two turns, as the chat template has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from parity.errors import UsageError
from parity.media import Part, Prompt
from parity.scenario import Chunk, Scenario
from reference.common.schedules import Facts, require_context

Role = Literal["user", "assistant"]
Encode = Callable[[Sequence[tuple[Role, Prompt]]], list[int]]
"""Token ids of a dialogue, up to where the model's next turn begins."""

NAME = "generate"
REPLY: Prompt = (Part("text", "No"),)
"""What the model says; of other checkpoints and prompts any words would do, for their tokens are given."""
QUESTION: Prompt = (Part("text", "And what is not?"),)
LONGEST = 512
"""Tokens of a turn: backends read a longer one in several chunks, each of its own length."""


def build_conversation(prompt: Prompt, encode: Encode, facts: Facts) -> Scenario:
    """A prompt, a reply, a question that is read on, and a second reply's first token.

    The replies are given, so that no near tie leads a right candidate elsewhere.

    Raises:
        UsageError: for a prompt that is too long, or a template in which a turn changes what was read before it.
    """
    first = encode([("user", prompt)])
    reply, following = _behind(first, prompt, encode)
    if max(len(first), len(following)) > LONGEST:
        raise UsageError(f"a turn of {len(first)} tokens; scenario {NAME} has at most {LONGEST}: shorten the prompt")
    media = (prompt,) if any(part.kind != "text" for part in prompt) else ()
    chunks = (
        Chunk("prefill", (tuple(first),), media, turn=prompt),
        *_said(reply, 1),
        Chunk("suffix", (tuple(following),), turn=QUESTION),
        *_said(reply[:1], 1 + len(reply)),
    )
    return require_context(Scenario(NAME, chunks), facts)


def _behind(first: list[int], prompt: Prompt, encode: Encode) -> tuple[list[int], list[int]]:
    """The reply's ids, and those from its end to the second reply: what is the same without a reply."""
    bare: list[tuple[Role, Prompt]] = [("user", prompt), ("assistant", (Part("text", ""),)), ("user", QUESTION)]
    without, whole = encode(bare), encode([bare[0], ("assistant", REPLY), bare[2]])
    following = without[len(first) :]
    reply = whole[len(first) : len(whole) - len(following)]
    if without != first + following or whole != first + reply + following or not reply:
        raise UsageError("this chat template changes what was read before: its conversations cannot be read on")
    return reply, following


def _said(reply: Sequence[int], first: int) -> tuple[Chunk, ...]:
    return tuple(Chunk(f"decode.{number}", ((token,),)) for number, token in enumerate(reply, first))
