"""What is wrong with a mask, in words: true for some keys more or fewer, in which rows; the other way round."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from parity.diagnosis.evidence import Evidence, Piece, flat
from parity.diagnosis.hypothesis import Hypothesis

Mask = NDArray[np.bool_]


def masks(evidence: Evidence) -> Iterator[Hypothesis]:
    """Causes of masks alone; integers and floats of zeros and ones are masks to nobody."""
    if not all(piece.mask for piece in evidence.pieces):
        return
    true = flat(piece.oracle for piece in evidence.pieces)
    yield Hypothesis("inverted", 1.0 - 2.0 * true, "true where it should be false, and false where it should be true")
    told = {text for piece in evidence.pieces if (text := _told(piece))}
    if len(told) == 1:
        yield Hypothesis("mask-keys", evidence.error, told.pop(), freedom=2)


def _told(piece: Piece) -> str:
    """By how many places each row that errs is longer or shorter, where that is one number and on one side."""
    true, made = piece.oracle > 0, piece.candidate > 0
    more, fewer = made & ~true, true & ~made
    if more.any() == fewer.any():
        return ""
    numbers = (more if more.any() else fewer).reshape(-1, true.shape[-1]).sum(-1).reshape(true.shape[:-1])
    wrong = numbers > 0
    if len(set(numbers[wrong].tolist())) != 1:
        return ""
    number = int(numbers[wrong][0])
    axis = piece.axes[-1] if piece.axes else "place"
    text = f"true for {number} {axis}{'s' if number != 1 else ''} {'more' if more.any() else 'fewer'}"
    return f"{text}{_rows(wrong, piece.axes[:-1])}"


def _rows(wrong: Mask, axes: tuple[str, ...]) -> str:
    """Which rows, where it is not all of them."""
    if wrong.all() or not axes:
        return ""
    along = np.flatnonzero(wrong.reshape(-1, wrong.shape[-1]).any(0))
    first, last = int(along[0]), int(along[-1])
    if len(along) == wrong.shape[-1]:
        return ""
    name = axes[-1]
    if first == last:
        return f" at {name} {first}"
    gaps = "" if len(along) == last - first + 1 else f", {len(along)} of them"
    return f" at {name}s {first} to {last}{gaps}"
