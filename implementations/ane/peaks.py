"""How large the values of each step grow, and by how much the residual stream must be scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from implementations.ane.scaling import carries_alpha
from parity.report.fold import Family, split
from parity.traces.trace import Record, Trace

MARGIN = 0.5
"""A step is kept within this share of the limit: other inputs peak elsewhere, and sums on the way are larger."""


@dataclass(frozen=True)
class Peak:
    """The largest magnitude of a family of steps: of one step in all layers, streams and phases.

    Attributes:
        family: its name, e.g. ``text.layers.{0-24}.out``.
        value: of the oracle; infinite where it is not finite.
        step, phase: where that is.
        carries: whether α scales it.
    """

    family: str
    value: float
    step: str
    phase: str
    carries: bool

    def at(self, alpha: float) -> float:
        """The largest magnitude in the model with α."""
        return self.value * alpha if self.carries else self.value


@dataclass(frozen=True)
class Range:
    """What the peaks say.

    Attributes:
        peaks: in execution order.
        limit: largest magnitude that the engine keeps.
        alpha: largest power of two, at most 1, that keeps what carries it within `MARGIN` of the limit.
        deciding: the carrying step that allows no larger α; None where α is 1.
        beyond: steps that exceed the limit all the same.
    """

    peaks: tuple[Peak, ...]
    limit: float
    alpha: float
    deciding: Peak | None
    beyond: tuple[Peak, ...]


def peaks_of(trace: Trace) -> tuple[Peak, ...]:
    """Peaks of an oracle's trace, floating-point steps alone: masks and ids are the host's."""
    families: dict[tuple[str, str], tuple[Family, list[Record]]] = {}
    for record in trace.records.values():
        step = trace.contract.get(record.step)
        if step is not None and step.kind == "float":
            before, index, after = split(record.step)
            family, records = families.setdefault((before, after), (Family(before, after), []))
            family.indices.extend([] if index is None else [index])
            records.append(record)
    return tuple(_peak(family.name, records) for family, records in families.values())


def _peak(family: str, records: Sequence[Record]) -> Peak:
    worst = max(records, key=_magnitude)
    return Peak(family, _magnitude(worst), worst.step, worst.phase, carries_alpha(worst.step))


def judge(peaks: Sequence[Peak], limit: float) -> Range:
    """The α that the peaks ask for, and what it leaves beyond the limit."""
    deciding = max((peak for peak in peaks if peak.carries), key=lambda peak: peak.value, default=None)
    alpha = 1.0 if deciding is None else _power_of_two(MARGIN * limit, deciding.value)
    beyond = tuple(peak for peak in peaks if not peak.at(alpha) <= limit)
    return Range(tuple(peaks), limit, alpha, deciding if alpha < 1 else None, beyond)


def _power_of_two(room: float, peak: float) -> float:
    """The largest power of two, at most 1, that brings `peak` into `room`; 1 for a peak that none does."""
    if peak <= room or not math.isfinite(peak):
        return 1.0
    return 2.0 ** (math.frexp(room / peak)[1] - 1)


def _magnitude(record: Record) -> float:
    return math.inf if record.nan_count or record.inf_count else record.abs_max
