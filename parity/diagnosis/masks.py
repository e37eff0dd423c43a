"""What is wrong with a mask, in words: true for some keys more or fewer, in which rows; the other way round."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from parity.diagnosis.evidence import Evidence, Piece, flat
from parity.diagnosis.hypothesis import Hypothesis
from parity.diagnosis.numerals import indices

Mask = NDArray[np.bool_]

MORE, FEWER = "true for {} where it should be false", "false for {} where it should be true"


def masks(evidence: Evidence) -> Iterator[Hypothesis]:
    """Causes of masks alone; integers and floats of zeros and ones are masks to nobody."""
    if not all(piece.mask for piece in evidence.pieces):
        return
    true = flat(piece.oracle for piece in evidence.pieces)
    yield Hypothesis("inverted", 1.0 - 2.0 * true, "true where it should be false, and false where it should be true")
    told = {text for piece in evidence.pieces if (text := _told(piece))}
    if len(told) == 1:
        yield Hypothesis("mask-keys", evidence.error, told.pop(), freedom=1)


def _told(piece: Piece) -> str:
    """Which keys err, where these are the same in all rows, or else how many."""
    true, made = piece.oracle > 0, piece.candidate > 0
    more, fewer = made & ~true, true & ~made
    both = ((more, ~true, MORE), (fewer, true, FEWER))
    sides = [_keys(wrong, could, piece.axes, said) for wrong, could, said in both if wrong.any()]
    return ", and ".join(sides) if all(sides) else _number(more, fewer, piece.axes)


def _keys(wrong: Mask, could: Mask, axes: tuple[str, ...], said: str) -> str:
    """The keys that err in every row that does, or in every row where they could; empty where rows differ."""
    rows, able = (mask.reshape(-1, mask.shape[-1]) for mask in (wrong, could))
    keys = np.flatnonzero(rows.any(0))
    everywhere = bool((rows | ~able)[:, keys].all())
    if not axes or not (everywhere or rows[rows.any(1)][:, keys].all()):
        return ""
    return said.format(f"{axes[-1]}{indices(keys)}") + (
        "" if everywhere else _rows(np.asarray(wrong.any(-1)), axes[:-1])
    )


def _number(more: Mask, fewer: Mask, axes: tuple[str, ...]) -> str:
    """By how many places each row that errs is longer or shorter, where that is one number and on one side."""
    if more.any() == fewer.any():
        return ""
    numbers = (more if more.any() else fewer).reshape(-1, more.shape[-1]).sum(-1).reshape(more.shape[:-1])
    wrong = numbers > 0
    if len(set(numbers[wrong].tolist())) != 1:
        return ""
    number = int(numbers[wrong][0])
    axis = axes[-1] if axes else "place"
    text = f"true for {number} {axis}{'s' if number != 1 else ''} {'more' if more.any() else 'fewer'}"
    return f"{text}{_rows(wrong, axes[:-1])}"


def _rows(wrong: Mask, axes: tuple[str, ...]) -> str:
    """Which rows, where it is not all of them."""
    if wrong.all() or not axes:
        return ""
    along = np.flatnonzero(wrong.reshape(-1, wrong.shape[-1]).any(0))
    return "" if len(along) == wrong.shape[-1] else f" at {axes[-1]}{indices(along)}"
