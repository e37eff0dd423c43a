"""The generation loop, the same for every backend: greedy, streamed, with the prompt in chunks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.prompt import Tokenizer
from parity.errors import UsageError

PREFILL = 512
"""Prompt tokens a chunk: bounds the memory of a long prompt's activations."""

Step = Callable[[list[int]], NDArray[Any]]
"""Runs the next chunk of token ids; returns the logits behind its last token, ``[vocabulary]``."""


def generate(
    step: Step, tokenizer: Tokenizer, prompt: str, *, max_tokens: int, stops: Collection[int]
) -> Iterator[str]:
    """Text that follows `prompt`, in pieces that end on whole characters."""
    yield from tokenizer.stream(generate_ids(step, tokenizer.encode(prompt), max_tokens=max_tokens, stops=stops))


def generate_ids(step: Step, ids: Sequence[int], *, max_tokens: int, stops: Collection[int]) -> Iterator[int]:
    """Token ids that follow `ids`, each the one with the largest logit.

    Args:
        step: the model; begins a conversation with its first call.
        ids: the prompt.
        max_tokens: how many ids at most.
        stops: ids that end the text and are not part of it.

    Raises:
        UsageError: for a prompt without tokens or a negative `max_tokens`.
    """
    if not ids or max_tokens < 0:
        raise UsageError(f"nothing to generate from {len(ids)} prompt tokens and {max_tokens} tokens at most")
    if max_tokens == 0:
        return
    token = _prefill(step, ids)
    for count in range(1, max_tokens + 1):
        if token in stops:
            return
        yield token
        if count < max_tokens:
            token = _best(step([token]))


def _prefill(step: Step, ids: Sequence[int]) -> int:
    last: NDArray[Any] = np.empty(0)
    for begin in range(0, len(ids), PREFILL):
        last = step(list(ids[begin : begin + PREFILL]))
    return _best(last)


def _best(logits: NDArray[Any]) -> int:
    """The id of the largest logit; the first of equals, as every framework's argmax has it."""
    return int(np.argmax(logits.astype(np.float32)))
