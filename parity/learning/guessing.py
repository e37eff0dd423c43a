"""The layouts that two shapes alone allow: what is left to go by where the numbers are wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from parity.learning.layout import Parts, Rearrangement, arranged, distance

MOST_AXES = 5
"""Of a tensor: the orders of more are hundreds."""


def guesses(
    oracle: NDArray[Any], candidate: NDArray[Any], name: Callable[[int], str]
) -> Iterator[tuple[float, Rearrangement]]:
    """Every layout in which a candidate's tensor has the oracle's shape, and how far its numbers are off then."""
    axes = [axis for axis, size in enumerate(candidate.shape) if size > 1]
    if len(axes) > MOST_AXES:
        return
    seen: set[str] = set()
    for order in itertools.permutations(axes):
        parts = _parts(oracle.shape, candidate.shape, order)
        found = arranged(parts, oracle.shape, candidate.shape, name) if parts is not None else None
        if found is not None and str(found[0]) not in seen:
            seen.add(str(found[0]))
            shown = found[0].bound(candidate.shape, found[1]).out(candidate)
            yield distance(oracle=oracle, candidate=shown), found[0]


def _parts(oracle: Sequence[int], candidate: Sequence[int], order: Sequence[int]) -> Parts | None:
    """The candidate's axes in another order, cut where the oracle's axes end; None where sizes do not divide."""
    found: Parts = []
    left = [size for size in oracle if size > 1]
    for axis in order:
        size, stride = candidate[axis], math.prod(candidate[axis + 1 :])
        while size > 1:
            part = min(size, left[0])
            if size % part or left[0] % part:
                return None
            size, left[0] = size // part, left[0] // part
            found.append((part, stride * size))
            if left[0] == 1:
                left.pop(0)
    return found
