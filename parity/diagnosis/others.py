"""Generic causes that another step is part of: left out, added, or taken instead."""

from __future__ import annotations

from collections.abc import Iterator

from parity.diagnosis.evidence import Evidence, Float, flat
from parity.diagnosis.generic import WORTH
from parity.diagnosis.hypothesis import Hypothesis, fit
from parity.trace import Key, Trace

BEFORE = 64
"""Of the steps before this one so many are looked at: a text layer has about as many."""


def others(evidence: Evidence, oracle: Trace) -> list[Hypothesis]:
    """What a missing or doubled residual, or a step left out, explains."""
    true = flat(piece.oracle for piece in evidence.pieces)
    found = [each for name, value in _earlier(evidence, oracle) for each in _with(name, value, true)]
    return [each for each in found if fit(evidence, each).left < WORTH]


def _with(name: str, value: Float, true: Float) -> Iterator[Hypothesis]:
    yield Hypothesis(f"lacks {name}", -value, f"{name} is missing from the sum")
    yield Hypothesis(f"adds {name}", value, f"{name} is added once more")
    yield Hypothesis(f"is {name}", value - true, f"the value is that of {name}: what lies between is left out")


def _earlier(evidence: Evidence, oracle: Trace) -> Iterator[tuple[str, Float]]:
    """Steps not long before, of the same shape; none where the evidence is of several layers."""
    here, *others = {piece.key.step for piece in evidence.pieces}
    steps = [step.name for step in oracle.contract if step.kind == "float"]
    if others or here not in steps:
        return
    at = steps.index(here)
    for name in reversed(steps[max(0, at - BEFORE) : at]):
        values = [_value(oracle, Key(piece.key.phase, name), piece.oracle) for piece in evidence.pieces]
        there = [value for value in values if value is not None]
        if len(there) == len(values):
            yield (
                name,
                flat(piece.effect(value) + piece.oracle for piece, value in zip(evidence.pieces, there, strict=True)),
            )


def _value(oracle: Trace, key: Key, like: Float) -> Float | None:
    record = oracle.records.get(key)
    return oracle.tensor(key) if record and tuple(record.shape) == like.shape else None
