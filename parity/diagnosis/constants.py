"""Generic causes that are another constant of the same function: a cap of logits, the slope inside a GELU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from parity.diagnosis.earlier import Earlier
from parity.diagnosis.evidence import Evidence, flat
from parity.diagnosis.hypothesis import Hypothesis
from parity.diagnosis.numerals import said
from parity.diagnosis.softmax import least
from parity.traces.measure import Float

ARGUMENTS = 3
"""Of the steps of the same shape so many are tried as the argument."""
SAMPLE = 4096
"""Constants are fitted to so many values, the largest arguments, which say most of them."""
IS_IT = 1e-9
"""The oracle's step is the function where so little of it is left."""
DIGITS = 5
"""A constant is told, and tried, to so many digits."""


@dataclass(frozen=True)
class Curve:
    """A function with one constant.

    Attributes:
        says: what the constant is.
        function: of the argument and the constant.
        known: the constant that everyone uses; None where models differ and `of` finds it.
        of: the constant that turns arguments into values, if any does.
    """

    says: str
    function: Callable[[Float, float], Float]
    known: float | None = None
    of: Callable[[Float, Float], float] = lambda x, y: 0.0


def _cap_of(x: Float, y: Float) -> float:
    """The c of ``c tanh(x / c)``, by the largest argument; 0 where no cap is.

    With r the share that is left of the argument, c is between that value and twice it over ``sqrt(1 - r^2)``.
    """
    at = int(np.argmax(np.abs(x)))
    far, made = abs(float(x[at])), abs(float(y[at]))
    if not 0 < made < far:
        return 0.0
    return _root(lambda c: c * math.tanh(far / c) - made, made, 2 * made / math.sqrt(1 - (made / far) ** 2))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a growing function is zero, by bisection; 0 where it is not between the two."""
    if function(low) > 0 or function(high) < 0:
        return 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return high


CURVES = (
    Curve("values are capped at", lambda x, c: c * np.tanh(x / c), of=_cap_of),
    Curve("the GELU's slope is", lambda x, c: x * 0.5 * (1 + np.tanh(0.5 * c * x)), known=1.702),
    Curve("the SiLU's slope is", lambda x, c: x * 0.5 * (1 + np.tanh(0.5 * c * x)), known=1.0),
    Curve(
        "the GELU's cubic term is",
        lambda x, c: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + c * x**3))),
        known=0.044715,
    ),
    Curve("the leaky ReLU's slope is", lambda x, c: np.where(x > 0, x, c * x), known=0.01),
)


def constants(evidence: Evidence, earlier: Earlier) -> Iterator[Hypothesis]:
    """Each curve that the oracle's step is of an earlier one, with the constant that explains the candidate best."""
    true = flat(piece.oracle for piece in evidence.pieces)
    made = true + evidence.error
    counted = flat(piece.counted.astype(np.float64) for piece in evidence.pieces) > 0
    for value in earlier.same[:ARGUMENTS]:
        argument = value.on(evidence)
        sample = np.argsort(-np.abs(argument), kind="stable")[:SAMPLE]
        for curve in CURVES:
            if known := _constant(curve, argument[sample], true[sample]):
                times = least(partial(_apart, curve, known, argument[sample], made[sample]))
                other = float(f"{times * known:.{DIGITS}g}")
                effect = np.where(counted, curve.function(argument, other) - true, 0.0)
                says = f"{curve.says} {said(other)} instead of {said(known)}"
                yield Hypothesis("function-constant", effect, says, freedom=1)


def _apart(curve: Curve, known: float, x: Float, made: Float, times: float) -> float:
    """How far values are from the curve with so many times the constant."""
    return float(np.square(curve.function(x, times * known) - made).sum())


def _constant(curve: Curve, x: Float, y: Float) -> float:
    """The constant with which values are the function of arguments; 0 where they are none."""
    known = curve.known or curve.of(x, y)
    if not known:
        return 0.0
    left = float(np.square(curve.function(x, known) - y).sum())
    return float(f"{known:.8g}") if left <= IS_IT**2 * float(np.square(y).sum()) else 0.0
