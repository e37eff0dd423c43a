"""An epsilon that is another: norms are recognised by what they make of an earlier step, and both epsilons fitted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from parity.diagnosis.earlier import Earlier
from parity.diagnosis.evidence import Evidence, flat
from parity.diagnosis.hypothesis import Hypothesis
from parity.diagnosis.numerals import said
from parity.traces.measure import Float

WIDE = 8
"""A norm is over so many values at least."""
INPUTS = 8
"""Of the steps of the same shape so many are tried as the norm's input."""
IS_NORM = 1e-8
"""A step of the oracle is a norm of another where its rows' factors are the norm's to this share."""
SCALE = 1e4
"""An epsilon so many times what is normed would divide all rows by the same: the step is a product with a constant."""
FEWEST = 4
"""Fewer rows do not show two epsilons."""


@dataclass(frozen=True, eq=False)
class Norm:
    """What a step is of another: ``x / sqrt(mean(x^2) + epsilon)`` with a gain for each index of the axis.

    Attributes:
        name: the step that is normed.
        axis: along which.
        epsilon: the oracle's own.
        power: for each row its mean of squares.
        given: the rows as they are before the gain.
        true: the oracle's rows.
        error: the candidate's errors, a row for each of them.
    """

    name: str
    axis: str
    epsilon: float
    power: Float
    given: Float
    true: Float
    error: Float


def norms(evidence: Evidence, earlier: Earlier) -> Iterator[Norm]:
    """What the step is a norm of, for each axis along which it is one."""
    for axis in dict.fromkeys(evidence.pieces[0].axes):
        found = _rows(evidence, axis)
        if found is None or found[0].shape[1] < WIDE or len(found[0]) < FEWEST:
            continue
        for value in earlier.same[:INPUTS]:
            given = stacked(evidence, axis, value.tensors)
            power = np.square(given).mean(1)
            if (known := _epsilon(given, found[0], power)) is not None:
                normed = given / np.sqrt(np.maximum(power + known, np.finfo(float).tiny))[:, None]
                yield Norm(value.name, axis, known, power, normed, *found)
                break


def epsilons(evidence: Evidence, found: Iterable[Norm]) -> Iterator[Hypothesis]:
    """For each norm that the step is, the epsilon that explains a factor of each row best."""
    for norm in found:
        true, error = norm.true, norm.error
        size = np.square(true).sum(1)
        times = 1 + np.divide((true * error).sum(1), size, out=np.zeros_like(size), where=size > 0)
        shifts, known = np.divide(1, np.square(times), out=np.ones_like(times), where=times != 0) - 1, norm.epsilon
        per = 1 / (norm.power + known)
        weight = size * times**6  # an error of a factor t is 2 / t^3 times as large in its inverse square
        change = float((weight * shifts * per).sum() / (weight * per * per).sum())
        if known + change <= -float(norm.power.min()):
            continue
        factors = np.sqrt((norm.power + known) / (norm.power + known + change))
        text = f"epsilon {said(_plain(known + change))} instead of {said(_plain(known))} in the norm of {norm.name}"
        effect = back(evidence, norm.axis, (factors - 1)[:, None] * true)
        yield Hypothesis("epsilon", effect, text, freedom=1)


def _epsilon(given: Float, made: Float, power: Float) -> float | None:
    """The epsilon with which rows ``made`` are norms of rows ``given``; None where they are none.

    The factor of a row, times a gain for each column, is ``1 / sqrt(power + epsilon)``: against the row of the
    largest power, the gain cancels.
    """
    first = int(np.argmax(power))
    usable = (np.abs(given[first]) > 0) & (made[first] != 0)
    if np.count_nonzero(usable) < WIDE or power[first] == 0:
        return None
    gain = made[first, usable] / given[first, usable]
    along = given[:, usable] * gain
    squared = np.square(along).sum(1)
    live = squared > 0
    times = np.divide((made[:, usable] * along).sum(1), squared, out=np.ones_like(squared), where=live)
    rest = made[:, usable] - times[:, None] * along
    if np.square(rest).sum() > IS_NORM**2 * np.square(made).sum():
        return None
    kept = live & (times != 0)
    share = np.square(1 / times[kept])  # (power + epsilon) / (power of the first + epsilon)
    apart, whole = share * power[first] - power[kept], 1 - share
    known = float((apart * whole).sum() / max(float(np.square(whole).sum()), np.finfo(float).tiny))
    held = (power[kept] + known) / (power[first] + known)
    near = np.abs(held / share - 1) < IS_NORM * 100
    return known if near.all() and -1e-9 * power[first] < known < SCALE * power[first] else None


def _plain(value: float) -> float:
    """An epsilon to three digits, for it is a small part of what it is fitted to."""
    return float(f"{value:.1e}") if value > 1e-11 else 0.0


def _rows(evidence: Evidence, axis: str) -> tuple[Float, Float] | None:
    """The oracle's values and the errors, a row for each value of all other axes; None where axes are not known."""
    if any(axis not in piece.axes or len(piece.axes) != piece.oracle.ndim for piece in evidence.pieces):
        return None
    widths = {piece.oracle.shape[piece.axes.index(axis)] for piece in evidence.pieces}
    if len(widths) != 1:
        return None
    true = stacked(evidence, axis, tuple(piece.oracle for piece in evidence.pieces))
    return true, stacked(evidence, axis, tuple(piece.error for piece in evidence.pieces))


def stacked(evidence: Evidence, axis: str, tensors: tuple[Float, ...]) -> Float:
    """Tensors of the evidence's shapes as rows along an axis, zero where the evidence does not count."""
    pairs = zip(evidence.pieces, tensors, strict=True)
    moved = (np.moveaxis(np.where(piece.counted, x, 0.0), piece.axes.index(axis), -1) for piece, x in pairs)
    return np.concatenate([each.reshape(-1, each.shape[-1]) for each in moved])


def back(evidence: Evidence, axis: str, rows: Float) -> Float:
    """Rows in the order of the evidence again."""
    found, before = [], 0
    for piece in evidence.pieces:
        at = piece.axes.index(axis)
        moved = (*(size for index, size in enumerate(piece.oracle.shape) if index != at), rows.shape[1])
        number = int(np.prod(moved[:-1]))
        found.append(np.moveaxis(rows[before : before + number].reshape(moved), -1, at))
        before += number
    return flat(found)
