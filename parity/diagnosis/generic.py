"""Generic causes: what any port can get wrong, whatever the model. Each is fitted to the error."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

from parity.diagnosis.attention import attentions
from parity.diagnosis.constants import constants
from parity.diagnosis.earlier import Earlier
from parity.diagnosis.evidence import Evidence, flat
from parity.diagnosis.formulas import formulas
from parity.diagnosis.gains import gains
from parity.diagnosis.hypothesis import Hypothesis, fit
from parity.diagnosis.masks import masks
from parity.diagnosis.norms import epsilons, norms
from parity.diagnosis.numerals import indices, said, span
from parity.diagnosis.orders import orders
from parity.diagnosis.others import others
from parity.diagnosis.rotations import rotations
from parity.diagnosis.shifts import shifts
from parity.diagnosis.softmax import softmaxes
from parity.dtypes import numpy_dtype
from parity.traces.measure import Float

SMALLER = ("bfloat16", "float16", "float8_e4m3fn", "float8_e5m2")
WORTH = 0.5
"""What leaves more than half of an error is not kept, for it is held as an effect on all values."""
VALUES = 8
"""Values for each number that is fitted, or the fit says nothing."""
ALIKE = 1e-3
"""Factors of indices that differ by no more are one, and none where they are as near to what is right."""
SOME = 0.75
"""Where more of an axis is wrong, it is called all of it."""
FLIPS = 0.02
"""Of a rounding's error so much may stay unexplained: the candidate's own noise turns some roundings the other way."""


def generic(evidence: Evidence, earlier: Earlier | None = None) -> list[Hypothesis]:
    """The generic causes that explain a good part of an error, and the simplest ones, however much they explain.

    Args:
        evidence: of what errs.
        earlier: the oracle's steps before it; without them, causes of the tensor alone.
    """
    shapes = (shifts(evidence), orders(evidence), masks(evidence))
    rest = chain(_clipped(evidence), _rounded(evidence), _gains(evidence), softmaxes(evidence), *shapes)
    if earlier is not None:
        of_steps = (others(evidence, earlier), formulas(evidence, earlier))
        of_kinds = (causes(evidence, earlier) for causes in (rotations, constants, attentions))
        found = list(norms(evidence, earlier))
        rest = chain(rest, *of_steps, epsilons(evidence, found), gains(evidence, earlier, found), *of_kinds)
    return [*_factors(evidence), *(each for each in rest if fit(evidence, each).left < WORTH)]


def _factors(evidence: Evidence) -> Iterator[Hypothesis]:
    true = flat(piece.oracle for piece in evidence.pieces)
    yield Hypothesis("sign", -2.0 * true, "the sign is the other one")
    yield Hypothesis("factor", true, "multiplied by {factor}", scaled=True)
    ones = flat(piece.counted.astype(np.float64) for piece in evidence.pieces)
    yield Hypothesis("offset", ones, "{alpha} is added", scaled=True)


def _clipped(evidence: Evidence) -> Iterator[Hypothesis]:
    """Two values at a bound at least: the largest is at the candidate's own largest anyway."""
    true = flat(piece.oracle for piece in evidence.pieces)
    made = true + evidence.error
    low, high = float(made.min()), float(made.max())
    below, above = (bool(np.count_nonzero(beyond) >= 2) for beyond in (true < low, true > high))
    sides = [f"at least {said(low)}"] * below + [f"at most {said(high)}"] * above
    if sides and low == high:
        yield Hypothesis("constant", low - true, f"every value is {said(low)}", freedom=2)
    elif sides:
        clipped = np.clip(true, low, high) - true
        yield Hypothesis("clipped", clipped, f"clipped to {' and '.join(sides)}", freedom=2)


def _rounded(evidence: Evidence) -> Iterator[Hypothesis]:
    true = flat(piece.oracle for piece in evidence.pieces)
    for name in SMALLER:
        with np.errstate(over="ignore"):
            effect = true.astype(numpy_dtype(name)).astype(np.float64) - true
        if np.isfinite(effect).all():
            yield Hypothesis(f"rounded-{name}", effect, f"rounded to {name}", slack=FLIPS)


def _gains(evidence: Evidence) -> Iterator[Hypothesis]:
    """Along one axis, or two, each index has a factor or a summand of its own; those of tokens differ by the phase."""
    true = flat(piece.oracle for piece in evidence.pieces)
    first = evidence.pieces[0]
    axes = list(dict.fromkeys(axis for at, axis in enumerate(first.axes) if at != first.layout.rows))
    for chosen in (*combinations(axes, 1), *combinations(axes, 2)):
        index = _indices(evidence, chosen)
        number = int(index.max(initial=-1)) + 1
        if number < 2 or evidence.size < VALUES * number:
            continue
        for name, word, right, (values, per) in (
            ("gain", "multiplied by", 1.0, _gain(index, true, evidence.error, number)),
            ("bias", "off by", 0.0, _bias(index, evidence.error, number)),
        ):
            what = "a factor" if right else "a summand"
            text = f"each {' and '.join(chosen)} index is {word} {what} of its own, {span(per)}"
            yield Hypothesis("-".join((name, *chosen)), values, text, freedom=number)
            if len(chosen) == 1 and (some := _some(per, right)) is not None:
                wrong, size = some
                at = indices(np.flatnonzero(wrong)).removeprefix("s")
                text = f"at {chosen[0]}{at} of {number} it is {word} {said(size)}"
                effect = np.where(wrong[index], (size - 1) * true if right else size, 0.0)
                yield Hypothesis("-".join((name, "some", *chosen)), effect, text, freedom=2)


def _some(per: Float, right: float) -> tuple[NDArray[np.bool_], float] | None:
    """The indices that err, and their common factor or summand; None where all do, or each has its own."""
    wrong = np.abs(per - right) > ALIKE * max(1.0, float(np.abs(per).max()))
    if not 0 < np.count_nonzero(wrong) <= SOME * len(per):
        return None
    size = float(np.median(per[wrong]))
    return (wrong, size) if np.allclose(per[wrong], size, rtol=ALIKE, atol=ALIKE) else None


def _gain(index: NDArray[np.int64], true: Float, error: Float, number: int) -> tuple[Float, Float]:
    """The effect of the best factor for each index, and the factors."""
    power = np.bincount(index, true * true, number)
    more = np.divide(np.bincount(index, true * error, number), power, out=np.zeros(number), where=power > 0)
    return more[index] * true, 1 + more


def _bias(index: NDArray[np.int64], error: Float, number: int) -> tuple[Float, Float]:
    """The effect of the best summand for each index, and the summands."""
    bias = np.bincount(index, error, number) / np.bincount(index, minlength=number)
    return bias[index], bias


def _indices(evidence: Evidence, axes: Sequence[str]) -> NDArray[np.int64]:
    """For each value the number of its index along some axes, or nothing; tokens of other rows, or phases, differ."""
    found, before = [], 0
    for piece in evidence.pieces:
        if not set(axes) <= set(piece.axes) or len(piece.axes) != piece.oracle.ndim:
            return np.zeros(0, np.int64)
        at, layout = {piece.axes.index(axis) for axis in axes}, piece.layout
        in_sequence = bool(at & set(layout.sequence))
        own = {*at, layout.rows} if in_sequence else at
        shape = [size if each in own else 1 for each, size in enumerate(piece.oracle.shape)]
        numbers = np.arange(math.prod(shape)).reshape(shape) + before
        found.append(np.broadcast_to(numbers, piece.oracle.shape).ravel())
        before += math.prod(shape) if in_sequence else 0
    return np.concatenate(found)
