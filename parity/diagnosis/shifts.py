"""Generic causes that shift a tensor by one place: tokens, rows of a map, frames; or rows and columns at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product

import numpy as np

from parity.diagnosis.evidence import Evidence, Piece, flat
from parity.diagnosis.hypothesis import Hypothesis
from parity.traces.measure import Float

SHORTEST_AXIS = 4
"""Along a shorter axis the end that comes from nowhere is too much of it."""
WHOSE = {1: "before", -1: "after"}


def shifts(evidence: Evidence) -> Iterator[Hypothesis]:
    """Every place has its neighbour's value; those at the end, which have none, may have any."""
    axes = [axis for axis in dict.fromkeys(evidence.pieces[0].axes) if _long(evidence, axis)]
    for axis, by in product(axes, WHOSE):
        yield _shifted(evidence, (axis,), (by,))
    for pair, steps in product(combinations(axes, 2), product(WHOSE, WHOSE)):
        if _square(evidence, pair):
            yield _shifted(evidence, pair, steps)


def _long(evidence: Evidence, axis: str) -> bool:
    return all(
        axis in piece.axes
        and len(piece.axes) == piece.oracle.ndim
        and piece.oracle.shape[piece.axes.index(axis)] >= SHORTEST_AXIS
        for piece in evidence.pieces
    )


def _square(evidence: Evidence, pair: Sequence[str]) -> bool:
    """Whether two axes lie side by side at the end of a map: what is padded along one is padded along the other."""
    return all(tuple(piece.axes[-2:]) == tuple(pair) and piece.oracle.ndim >= 4 for piece in evidence.pieces)


def _shifted(evidence: Evidence, axes: Sequence[str], steps: Sequence[int]) -> Hypothesis:
    effects, free = zip(*(_effect(piece, axes, steps) for piece in evidence.pieces), strict=True)
    name = "-".join(("shifted", *(f"{WHOSE[by]}-{axis}" for axis, by in zip(axes, steps, strict=True))))
    whose = " and ".join(f"the {axis} {WHOSE[by]} it" for axis, by in zip(axes, steps, strict=True))
    return Hypothesis(name, flat(effects), f"each place has the value of {whose}", freedom=sum(free))


def _effect(piece: Piece, axes: Sequence[str], steps: Sequence[int]) -> tuple[Float, int]:
    """What the shift does, and how many values at the ends are taken as they are."""
    places = tuple(piece.axes.index(axis) for axis in axes)
    effect = np.roll(piece.oracle, steps, places) - piece.oracle
    ends = np.zeros(piece.oracle.shape, bool)
    for place, by in zip(places, steps, strict=True):
        ends[(slice(None),) * place + (0 if by > 0 else -1,)] = True
    return np.where(piece.counted, np.where(ends, piece.error, effect), 0.0), int(np.count_nonzero(ends))
