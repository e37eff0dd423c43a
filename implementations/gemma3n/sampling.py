"""The next token from its logits: the largest, or drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.generation import Sampling


class Chooser:
    """Chooses one token after the other, by one seeded stream of random numbers; a reply that is given comes first."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = np.random.Generator(np.random.PCG64(sampling.seed))
        self._reply = iter(sampling.reply)

    def __call__(self, logits: NDArray[Any]) -> int:
        """The next token's id.

        Args:
            logits: ``[vocabulary]``, any float dtype.
        """
        if (given := next(self._reply, None)) is not None:
            return given
        if self._sampling.temperature == 0:
            return int(np.argmax(logits.astype(np.float32)))  # the first of equals, as every framework has it
        chances = probabilities(logits, self._sampling)
        return int(self._random.choice(len(chances), p=chances))


def probabilities(logits: NDArray[Any], sampling: Sampling) -> NDArray[np.float64]:
    """Chance of each token, ``[vocabulary]``, with a temperature above 0; in float64, so that they sum to 1.

    Of equal logits at the edge of top-k or top-p, those with the smaller ids stay.
    """
    order = np.argsort(-logits.astype(np.float64), kind="stable")
    scaled = (logits.astype(np.float64) - float(logits[order[0]])) / sampling.temperature
    chances = np.exp(scaled)
    if sampling.top_k:
        chances[order[sampling.top_k :]] = 0
    chances /= chances.sum()
    before = np.cumsum(chances[order]) - chances[order]
    chances[order[before >= sampling.top_p]] = 0
    normed: NDArray[np.float64] = chances / chances.sum()
    return normed
