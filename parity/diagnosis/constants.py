"""Generic causes that are another constant of the same function: a cap of logits, the slope inside a GELU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
class Family:
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
    """The c of ``c tanh(x / c)``, from the largest argument, by Newton's steps from what is surely too large."""
    at = int(np.argmax(np.abs(x)))
    far, made = abs(float(x[at])), abs(float(y[at]))
    if not 0 < made < far:
        return 0.0
    return _root(lambda c: c * math.tanh(far / c) - made, made, made * far / math.sqrt(far * far - made * made) * 64)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a growing function is zero, by bisection; 0 where it is not between the two."""
    if function(low) > 0 or function(high) < 0:
        return 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return high


FAMILIES = (
    Family("values are capped at", lambda x, c: c * np.tanh(x / c), of=_cap_of),
    Family("the GELU's slope is", lambda x, c: x * 0.5 * (1 + np.tanh(0.5 * c * x)), known=1.702),
    Family("the SiLU's slope is", lambda x, c: x * 0.5 * (1 + np.tanh(0.5 * c * x)), known=1.0),
    Family(
        "the GELU's cubic term is",
        lambda x, c: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + c * x**3))),
        known=0.044715,
    ),
    Family("the leaky ReLU's slope is", lambda x, c: np.where(x > 0, x, c * x), known=0.01),
)


def constants(evidence: Evidence, earlier: Earlier) -> Iterator[Hypothesis]:
    """Each family that the oracle's step is of an earlier one, with the constant that explains the candidate best."""
    true = flat(piece.oracle for piece in evidence.pieces)
    made = true + evidence.error
    counted = flat(piece.counted.astype(np.float64) for piece in evidence.pieces) > 0
    for value in earlier.same[:ARGUMENTS]:
        argument = value.on(evidence)
        sample = np.argsort(-np.abs(argument), kind="stable")[:SAMPLE]
        for family in FAMILIES:
            known = _constant(family, argument[sample], true[sample])
            if not known:
                continue
            times = least(lambda t: float(np.square(family.function(argument[sample], t * known) - made[sample]).sum()))  # noqa: B023
            other = float(f"{times * known:.{DIGITS}g}")
            effect = np.where(counted, family.function(argument, other) - true, 0.0)
            yield Hypothesis(
                "function-constant", effect, f"{family.says} {said(other)} instead of {said(known)}", freedom=1
            )


def _constant(family: Family, x: Float, y: Float) -> float:
    """The constant with which values are the function of arguments; 0 where they are none."""
    known = family.known or family.of(x, y)
    if not known:
        return 0.0
    left = float(np.square(family.function(x, known) - y).sum())
    return float(f"{known:.8g}") if left <= IS_IT**2 * float(np.square(y).sum()) else 0.0
