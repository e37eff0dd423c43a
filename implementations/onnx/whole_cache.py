"""Keys and values of a sliding layer where a graph is given all of them: the contract has those of its window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.tap import Ahead, ScopedTap, Tap

Unseen = Mapping[str, NDArray[Any]]
"""By step, keys or values ``[batch, head, key, channel]`` of earlier chunks that no query of this one sees."""


def of_windows(tap: Tap, unseen: Unseen) -> Tap:
    """A tap that is told what a window sees, and whose answers go on behind what it does not see.

    With a window of 4 and 6 tokens before a chunk of 2, a sliding layer's tensor has 8 keys: the contract has the last
    5, of which each of the two queries sees 4.
    """

    def receive(step: str, value: Any) -> Any:
        if (old := unseen.get(step)) is None:
            return tap(step, value)
        seen = value[:, :, old.shape[2] :]
        answer = tap(step, seen)
        return value if answer is seen else np.concatenate([old, answer], 2)

    def ahead(step: str) -> Ahead:
        known, old = tap.ahead(step), unseen.get(step)
        return known if old is None or isinstance(known, float) else np.concatenate([old, known], 2, dtype=old.dtype)

    return ScopedTap(receive, ahead=ahead)
