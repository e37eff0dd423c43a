"""Generic causes that other steps are part of: left out, added, counted otherwise, or taken instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from parity.diagnosis.earlier import Earlier, Value
from parity.diagnosis.evidence import Evidence, flat
from parity.diagnosis.hypothesis import Hypothesis
from parity.traces.measure import Float

TERMS = 24
"""Of the steps before this one so many are tried as terms of a sum, each with each."""
MOST_IN_ALL = 16_000_000
"""Values of all of them together."""
PAIR = 0.01
"""Of an error so much may be left for a pair to be looked at whole."""


def others(evidence: Evidence, earlier: Earlier) -> Iterator[Hypothesis]:
    """What a missing or doubled term, a step left out, or another layer's value would cause."""
    true = flat(piece.oracle for piece in evidence.pieces)
    for value in earlier.same:
        yield from _with(value.name, value.on(evidence), true)
    for value in earlier.kin:
        yield Hypothesis(f"is {value.name}", value.on(evidence) - true, f"the value is that of {value.name}")
    yield from _pairs(evidence, earlier.same[: min(TERMS, MOST_IN_ALL // max(1, evidence.size))])


def _with(name: str, value: Float, true: Float) -> Iterator[Hypothesis]:
    yield Hypothesis(f"lacks {name}", -value, f"{name} is missing from the sum")
    yield Hypothesis(f"adds {name}", value, f"{name} is added once more")
    yield Hypothesis(f"is {name}", value - true, f"the value is that of {name}: what lies between is left out")
    yield Hypothesis(f"weighs {name}", value, f"{{alpha}} x {name} is added", scaled=True)


def _pairs(evidence: Evidence, values: Sequence[Value]) -> Iterator[Hypothesis]:
    """One earlier step stands in a sum where another should; or the whole is the sum of two, or their difference."""
    rows = [value.on(evidence) for value in values]
    gram = np.array([[float(np.vdot(one, other)) for other in rows] for one in rows])
    true = flat(piece.oracle for piece in evidence.pieces)
    for says, sign, target, base, freedom in (
        ("{0} in place of {1}", -1.0, evidence.error, np.zeros(1), 1),
        ("sum of {0} and {1}", 1.0, true + evidence.error, true, 2),
        ("difference of {0} and {1}", -1.0, true + evidence.error, true, 2),
    ):
        onto = np.array([float(np.vdot(row, target)) for row in rows])
        whole = float(np.vdot(target, target))
        for one, other in permutations(range(len(rows)), 2):
            squared = gram[one, one] + gram[other, other] + 2 * sign * gram[one, other]
            if whole - 2 * (onto[one] + sign * onto[other]) + squared < PAIR * evidence.energy:
                name = says.format(values[one].name, values[other].name)
                text = f"{name} in the sum" if freedom == 1 else f"the value is the {name}"
                yield Hypothesis(name, rows[one] + sign * rows[other] - base, text, freedom=freedom)
