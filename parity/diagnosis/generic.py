"""Generic causes: what any port can get wrong, whatever the model. Each is fitted to the error."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from parity.diagnosis.evidence import Evidence, Float, flat
from parity.diagnosis.hypothesis import Hypothesis, fit
from parity.diagnosis.orders import orders
from parity.dtypes import numpy_dtype

SMALLER = ("bfloat16", "float16", "float8_e4m3fn", "float8_e5m2")
WORTH = 0.5
"""What leaves more than half of an error is not kept, for it is held as an effect on all values."""
VALUES = 8
"""Values for each number that is fitted, or the fit says nothing."""
FLIPS = 0.02
"""Of a rounding's error so much may stay unexplained: the candidate's own noise turns some roundings the other way."""


def generic(evidence: Evidence) -> list[Hypothesis]:
    """The generic causes that explain a good part of an error, and the simplest ones, however much they explain."""
    rest = (*_clipped(evidence), *_rounded(evidence), *_shifted(evidence), *_gains(evidence), *orders(evidence))
    return [*_factors(evidence), *(each for each in rest if fit(evidence, each).left < WORTH)]


def _factors(evidence: Evidence) -> Iterator[Hypothesis]:
    true = flat(piece.oracle for piece in evidence.pieces)
    yield Hypothesis("sign", -2.0 * true, "the sign is the other one")
    yield Hypothesis("factor", true, "multiplied by {factor:.6g}", scaled=True)
    ones = flat(piece.counted.astype(np.float64) for piece in evidence.pieces)
    yield Hypothesis("offset", ones, "{alpha:.6g} is added", scaled=True)


def _clipped(evidence: Evidence) -> Iterator[Hypothesis]:
    """Two values at a bound at least: the largest is at the candidate's own largest anyway."""
    true = flat(piece.oracle for piece in evidence.pieces)
    made = true + evidence.error
    low, high = float(made.min()), float(made.max())
    if max(np.count_nonzero(true < low), np.count_nonzero(true > high)) >= 2:
        said = f"clipped to {low:.4g} ... {high:.4g}"
        yield Hypothesis("clipped", np.clip(true, low, high) - true, said, freedom=2)


def _rounded(evidence: Evidence) -> Iterator[Hypothesis]:
    true = flat(piece.oracle for piece in evidence.pieces)
    for name in SMALLER:
        with np.errstate(over="ignore"):
            effect = true.astype(numpy_dtype(name)).astype(np.float64) - true
        if np.isfinite(effect).all():
            yield Hypothesis(f"rounded-{name}", effect, f"rounded to {name}", slack=FLIPS)


def _shifted(evidence: Evidence) -> Iterator[Hypothesis]:
    """Along a conversation each value is its neighbour's; the one at the end, which has none, may be any."""
    for by, whose in ((1, "before"), (-1, "after")):
        effects, free, name = [], 0, ""
        for piece in evidence.pieces:
            at = next(iter(piece.layout.sequence), None)
            if at is None or piece.oracle.shape[at] < VALUES // 2:
                return
            name = piece.axes[at]
            effect = np.roll(piece.oracle, by, at) - piece.oracle
            end = (slice(None),) * at + (0 if by > 0 else -1,)
            effect[end] = piece.error[end]
            effects.append(np.where(piece.counted, effect, 0.0))
            free += effect[end].size
        said = f"each {name} has the value of the one {whose} it"
        yield Hypothesis(f"shifted-{whose}", flat(effects), said, freedom=free)


def _gains(evidence: Evidence) -> Iterator[Hypothesis]:
    """Along one axis each index has a factor, or a summand, of its own: the same for all tokens, or one a token."""
    true = flat(piece.oracle for piece in evidence.pieces)
    first = evidence.pieces[0]
    for axis in dict.fromkeys(axis for at, axis in enumerate(first.axes) if at != first.layout.rows):
        index = _indices(evidence, axis)
        number = int(index.max(initial=-1)) + 1
        if number < 2 or evidence.size < VALUES * number:
            continue
        for name, word, values, per in (
            ("gain", "multiplied by a factor", *_gain(index, true, evidence.error, number)),
            ("bias", "off by a summand", *_bias(index, evidence.error, number)),
        ):
            said = f"each {axis} index is {word} of its own, {per.min():.4g} to {per.max():.4g}"
            yield Hypothesis(f"{name}-{axis}", values, said, freedom=number)


def _gain(index: NDArray[np.int64], true: Float, error: Float, number: int) -> tuple[Float, Float]:
    """The effect of the best factor for each index, and the factors."""
    power = np.bincount(index, true * true, number)
    more = np.divide(np.bincount(index, true * error, number), power, out=np.zeros(number), where=power > 0)
    return more[index] * true, 1 + more


def _bias(index: NDArray[np.int64], error: Float, number: int) -> tuple[Float, Float]:
    """The effect of the best summand for each index, and the summands."""
    bias = np.bincount(index, error, number) / np.bincount(index, minlength=number)
    return bias[index], bias


def _indices(evidence: Evidence, axis: str) -> NDArray[np.int64]:
    """For each value the number of its index along an axis; tokens of other rows and phases are others. Or nothing."""
    found, before = [], 0
    for piece in evidence.pieces:
        if axis not in piece.axes or len(piece.axes) != piece.oracle.ndim:
            return np.zeros(0, np.int64)
        at, layout = piece.axes.index(axis), piece.layout
        own = {at, layout.rows} if at in layout.sequence else {at}
        shape = [size if each in own else 1 for each, size in enumerate(piece.oracle.shape)]
        numbers = np.arange(math.prod(shape)).reshape(shape) + before
        found.append(np.broadcast_to(numbers, piece.oracle.shape).ravel())
        before += math.prod(shape) if at in layout.sequence else 0
    return np.concatenate(found)
