"""What a user asks of a backend that writes text: a conversation, and how its next tokens are chosen."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from parity.errors import UsageError
from parity.media import Prompt, parse

Role = Literal["system", "user", "model", "text"]
Reason = Literal["stop", "length"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: ``system``, ``user`` or ``model``, in the chat template; ``text`` stands alone and is gone on from as it
            is.
        prompt: what was said.
    """

    role: Role
    prompt: Prompt

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Message:
        """Read a message's plain data.

        Raises:
            KeyError, TypeError, ValueError: when it is none.
        """
        if (role := data["role"]) not in get_args(Role):
            raise ValueError(f"no role: {role!r}")
        return cls(role, parse(data["prompt"]))


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_tokens: where to stop at the latest.
        temperature: logits are divided by it; 0 takes the largest logit.
        top_k: only so many of the likeliest tokens are drawn from; 0 for all.
        top_p: only the likeliest tokens that together have this probability (arXiv 1904.09751); 1 for all.
        seed: of the draws; the same seed draws the same tokens from the same logits.
        stop: texts of which the first that comes ends the reply, and is not said.
        reply: ids that are said first, whatever their logits: how a backend is held to what another one says.

    Raises:
        UsageError: for a value out of range.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    reply: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, good, wanted in (
            ("max_tokens", self.max_tokens >= 0, "at least 0"),
            ("temperature", 0 <= self.temperature < float("inf"), "a number, at least 0"),
            ("top_k", self.top_k >= 0, "at least 0"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("seed", self.seed >= 0, "at least 0"),
            ("stop", all(self.stop), "texts that are not empty"),
        ):
            if not good:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be {wanted}")


@dataclass(frozen=True)
class Finish:
    """How a reply ended, and what it took.

    Attributes:
        prompt_tokens: of the whole conversation before it, with those that stand for media.
        completion_tokens: that were chosen, also those of a text that ended it; without the id that did.
        reason: ``stop`` where the model or a stop text ended it, ``length`` where there was no room for more.
    """

    prompt_tokens: int
    completion_tokens: int
    reason: Reason


def until(pieces: Iterable[str], stop: Sequence[str]) -> Generator[str, None, bool]:
    """Pieces of text up to the first of some texts that is whole, which is not said; returns whether one came.

    Of ``baa`` both ``a`` and ``baa`` end it, and ``a`` is there first, wherever it was cut into pieces. What may be
    the beginning of one is held back until it is known to be none.
    """
    held = ""
    for piece in pieces:
        held += piece
        found = [(at + len(text), at) for text in stop if (at := held.find(text)) >= 0]
        end = min(found)[1] if found else len(held) - _begun(held, stop)
        if end:
            yield held[:end]
        if found:
            return True
        held = held[end:]
    if held:
        yield held
    return False


def _begun(said: str, stop: Sequence[str]) -> int:
    """Characters at the end of a text that one of `stop` may begin with."""
    return max((size for text in stop for size in range(1, len(text)) if said.endswith(text[:size])), default=0)
