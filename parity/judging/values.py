"""How many values a verdict rests on."""

from __future__ import annotations

import math
from collections.abc import Iterable

from parity.judging.verdict import StepVerdict
from parity.traces.measure import validity
from parity.traces.scale import layout_of
from parity.traces.trace import Key, Trace


def values(oracle: Trace, steps: Iterable[StepVerdict]) -> int:
    """The oracle's values at all steps that were measured, of real tokens; each counts once, however many runs."""
    return sum(_of(oracle, step.key) for step in steps if step.free or step.lockstep)


def _of(oracle: Trace, key: Key) -> int:
    layout = layout_of(key, oracle)
    valid, count = validity(layout, oracle.scenario, key.phase), math.prod(layout.shape)
    return count if valid is None else count // max(1, valid.size) * int(valid.sum())
