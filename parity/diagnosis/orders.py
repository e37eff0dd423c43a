"""Generic causes that only move values: an axis in another order, two axes exchanged, a tensor read the wrong way."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parity.diagnosis.evidence import Evidence, Piece, flat
from parity.diagnosis.hypothesis import Hypothesis
from parity.traces.measure import Float

LONGEST_AXIS = 1024
"""Axes up to that length are searched for an order that has no name."""
TOLD = 3
"""So many indices that stand elsewhere are told."""
ENOUGH = 8
"""So many values of each index, or values next to each other find one another by chance."""

Order = NDArray[np.int64]


class Reordered(NamedTuple):
    """An axis in another order.

    Attributes:
        name: of the cause.
        said: what the axis is.
        order: for each index the one whose values stand there.
        fitted: indices that stand where the error says, and no rule.
    """

    name: str
    said: str
    order: Order
    fitted: int = 0


def orders(evidence: Evidence) -> Iterator[Hypothesis]:
    """Every way of moving values that has a name, and the one order of an axis that fits best."""
    yield from _axes(evidence)
    yield from _exchanged(evidence)


def _axes(evidence: Evidence) -> Iterator[Hypothesis]:
    for axis, size in _common(evidence).items():
        for other in (*_named(size), *_found(evidence, axis, size)):
            taken = [np.take(piece.oracle, other.order, piece.axes.index(axis)) for piece in evidence.pieces]
            yield _moved(evidence, f"{other.name}-{axis}", f"the {axis} axis is {other.said}", taken, other.fitted)


def _common(evidence: Evidence) -> dict[str, int]:
    """Axes that are of one length in all pieces."""
    found: dict[str, set[int]] = {}
    for piece in evidence.pieces:
        for axis, size in zip(piece.axes, piece.oracle.shape, strict=False):
            found.setdefault(axis, set()).add(size)
    return {axis: sizes.pop() for axis, sizes in found.items() if len(sizes) == 1 and min(sizes) > 1}


def _named(size: int) -> Iterator[Reordered]:
    """Orders that ports mistake for the right one."""
    index = np.arange(size)
    yield Reordered("reversed", "reversed", index[::-1])
    if size % 2 == 0 and size > 2:
        yield Reordered("halves", "in exchanged halves", np.roll(index, size // 2))
    for rows in range(2, size // 2 + 1):
        if size % rows == 0:
            said = f"read as {rows} by {size // rows} the wrong way round"
            yield Reordered(f"interleaved-{rows}", said, index.reshape(rows, -1).T.ravel())


def _found(evidence: Evidence, axis: str, size: int) -> Iterator[Reordered]:
    """The order in which each slice of the candidate is the oracle's that it is nearest to, if that is an order."""
    if size > LONGEST_AXIS or evidence.size < ENOUGH * size:
        return
    distance = sum(_distances(piece, axis) for piece in evidence.pieces)
    order = np.argmin(distance, axis=1)
    moved, taken = int(np.count_nonzero(order != np.arange(size))), set(order.tolist())
    if not moved or (moved > 1 and _is_shift(order)):
        return
    if len(taken) == size:
        yield Reordered("permuted", f"in another order ({moved} of {size} indices are elsewhere)", order, moved)
    else:
        said = f"made of {len(taken)} of its {size} indices, {moved} of which stand where others should"
        yield Reordered("copied", f"{said}: {_elsewhere(order)}", order, moved)


def _elsewhere(order: Order) -> str:
    """The first indices that have what others should, e.g. ``8 has the value of 7``."""
    places = [(index, whose) for index, whose in enumerate(order.tolist()) if index != whose]
    told = [f"{index} has the value of {whose}" for index, whose in places[:TOLD]]
    return ", ".join(told + ["..."] * (len(places) > TOLD))


def _is_shift(order: Order) -> bool:
    """Whether all but one end move by one place, which has a name of its own."""
    steps = np.diff(order)
    return bool((steps[1:] == 1).all() or (steps[:-1] == 1).all())


def _distances(piece: Piece, axis: str) -> Float:
    """Squared distances of each slice of the candidate to each of the oracle."""
    at = piece.axes.index(axis)
    made, true = (np.moveaxis(x, at, 0).reshape(x.shape[at], -1) for x in (piece.candidate, piece.oracle))
    far: Float = (made * made).sum(1)[:, None] - 2 * made @ true.T + (true * true).sum(1)
    return far


def _exchanged(evidence: Evidence) -> Iterator[Hypothesis]:
    """Two axes of one length exchanged; two of any lengths exchanged and the numbers then read in the old shape."""
    axes = evidence.pieces[0].axes
    if any(piece.axes != axes or piece.oracle.ndim != len(axes) for piece in evidence.pieces):
        return
    for one, other in combinations(range(len(axes)), 2):
        if all(min(piece.oracle.shape[one], piece.oracle.shape[other]) > 1 for piece in evidence.pieces):
            same = all(piece.oracle.shape[one] == piece.oracle.shape[other] for piece in evidence.pieces)
            said = "exchanged" if same else "exchanged, and read as if they were not"
            taken = [np.swapaxes(piece.oracle, one, other).reshape(piece.oracle.shape) for piece in evidence.pieces]
            name = f"transposed-{axes[one]}-{axes[other]}"
            yield _moved(evidence, name, f"the axes {axes[one]} and {axes[other]} are {said}", taken)


def _moved(evidence: Evidence, name: str, says: str, taken: list[Float], freedom: int = 0) -> Hypothesis:
    pairs = zip(evidence.pieces, taken, strict=True)
    effect = flat(np.where(piece.counted, value - piece.oracle, 0.0) for piece, value in pairs)
    return Hypothesis(name, effect, says, freedom=freedom)
