"""The generation loop, the same for every backend: streamed, with the prompt in chunks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.sampling import Chooser
from parity.errors import UsageError
from parity.generation import Sampling

PREFILL = 512
"""Prompt tokens a chunk: bounds the memory of a long prompt's activations."""

Step = Callable[[list[int]], NDArray[Any]]
"""Runs the next chunk of token ids; returns the logits behind its last token, ``[vocabulary]``."""


def prefill(step: Step, ids: Sequence[int]) -> NDArray[Any]:
    """Run a prompt; returns the logits behind it, ``[vocabulary]``.

    Raises:
        UsageError: for a prompt without tokens.
    """
    if not ids:
        raise UsageError("nothing to generate from: the prompt has no tokens")
    last: NDArray[Any] = np.empty(0)
    for begin in range(0, len(ids), PREFILL):
        last = step(list(ids[begin : begin + PREFILL]))
    return last


def generate_ids(step: Step, logits: NDArray[Any], *, sampling: Sampling, stops: Collection[int]) -> Iterator[int]:
    """Token ids that follow a prompt.

    Args:
        step: the model; not run for a token that is not wanted.
        logits: those behind the prompt, ``[vocabulary]``.
        sampling: how each id is chosen, and how many at most.
        stops: ids that end the text and are not part of it.
    """
    choose = Chooser(sampling)
    for count in range(1, sampling.max_tokens + 1):
        if (token := choose(logits)) in stops:
            return
        yield token
        if count < sampling.max_tokens:
            logits = step([token])
