"""Generic causes that other steps are part of: left out, added, counted otherwise, or taken instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from parity.diagnosis.earlier import Earlier, Value
from parity.diagnosis.evidence import Evidence, Float, flat
from parity.diagnosis.hypothesis import Hypothesis

NEAREST = 12
"""Of the steps before this one so many are tried as the wrong term of a sum, each in place of each."""
PAIR = 0.01
"""Of an error so much may be left for a pair to be looked at whole."""


def others(evidence: Evidence, earlier: Earlier) -> Iterator[Hypothesis]:
    """What a missing or doubled term, a step left out, or another layer's value would cause."""
    true = flat(piece.oracle for piece in evidence.pieces)
    for value in earlier.same:
        yield from _with(value.name, value.on(evidence), true)
    for value in earlier.kin:
        yield Hypothesis(f"is {value.name}", value.on(evidence) - true, f"the value is that of {value.name}")
    yield from _exchanged(evidence, earlier.same[:NEAREST])


def _with(name: str, value: Float, true: Float) -> Iterator[Hypothesis]:
    yield Hypothesis(f"lacks {name}", -value, f"{name} is missing from the sum")
    yield Hypothesis(f"adds {name}", value, f"{name} is added once more")
    yield Hypothesis(f"is {name}", value - true, f"the value is that of {name}: what lies between is left out")
    yield Hypothesis(f"weighs {name}", value, f"{{alpha}} x {name} is added", scaled=True)
    least = float(true.min(initial=0.0))
    if np.count_nonzero(true == least) > 1 and np.array_equal(true, np.maximum(value, least)):
        said = f"the minimum of {name} and a bound where the maximum should be"
        yield Hypothesis("minimum", np.minimum(value, least) - true, said)


def _exchanged(evidence: Evidence, values: Sequence[Value]) -> Iterator[Hypothesis]:
    """One earlier step stands in the sum where another should."""
    rows = [value.on(evidence) for value in values]
    gram = np.array([[float(np.vdot(one, other)) for other in rows] for one in rows])
    onto = np.array([float(np.vdot(row, evidence.error)) for row in rows])
    for one, other in permutations(range(len(rows)), 2):
        squared = gram[one, one] - 2 * gram[one, other] + gram[other, other]
        left = evidence.energy - 2 * (onto[one] - onto[other]) + squared
        if left < PAIR * evidence.energy:
            name, instead = values[one].name, values[other].name
            said = f"{name} stands in the sum in place of {instead}"
            yield Hypothesis(f"{name} for {instead}", rows[one] - rows[other], said)
