"""The same step in all layers, place by place: where along the depth, and at which places, an error begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from parity.dtypes import as_float64
from parity.judging.verdict import StepVerdict
from parity.report.detail import Heat
from parity.report.fold import split
from parity.report.matrix import difference, group_rows, in_floors
from parity.traces.measure import Float
from parity.traces.scale import layout_of
from parity.traces.trace import Mode, Trace

if TYPE_CHECKING:
    from parity.report.examine import Examined

MOST_ELEMENTS = 1 << 28
"""Elements of a step in all layers together beyond which the map is left out: reading them would take minutes."""

Alike = tuple[str, str, str]
"""Phase, and the name around the layer's number."""


class LayerMaps:
    """Maps of one judgement; steps of one family share theirs."""

    def __init__(self, evidence: Examined) -> None:
        self._evidence = evidence
        self._made: dict[Alike, tuple[Heat, ...]] = {}
        self._members: dict[Alike, list[tuple[int, StepVerdict]]] = {}
        for step in evidence.judgement.steps:
            family, layer = _family(step)
            if layer is not None and step.occurrence == 0 and step.status.compared:
                self._members.setdefault(family, []).append((layer, step))

    def of(self, step: StepVerdict) -> tuple[Heat, ...]:
        """A map per run; none for a step that is in a single layer, has no places, or whose tensors were not kept."""
        family, _ = _family(step)
        if family not in self._made:
            self._made[family] = tuple(self._maps(family))
        return self._made[family]

    def _maps(self, family: Alike) -> list[Heat]:
        members = self._members.get(family, [])
        if len(members) < 2:
            return []
        layout = layout_of(members[0][1].key, self._evidence.oracle)
        if not layout.places or len(members) * math.prod(layout.shape) > MOST_ELEMENTS:
            return []
        runs: dict[Mode, Trace | None] = {
            "lockstep": self._evidence.candidate.lockstep,
            "free": self._evidence.candidate.free,
        }
        labels = self._evidence.labels(family[0], layout)
        maps = [self._map(mode, run, labels, members) for mode, run in runs.items() if run is not None]
        return [heat for heat in maps if heat is not None]

    def _map(
        self, mode: Mode, run: Trace, labels: Sequence[str], members: list[tuple[int, StepVerdict]]
    ) -> Heat | None:
        columns = [self._column(mode, run, step) for _, step in members]
        if any(column is None or len(column) != len(labels) for column in columns):
            return None
        rows, values = group_rows(np.stack([column for column in columns if column is not None], axis=1), labels)
        return Heat(
            title=f"error by place and layer, {mode}",
            across="layer",
            rows=rows,
            columns=tuple(str(layer) for layer, _ in members),
            values=tuple(tuple(line) for line in values.tolist()),
            grouped=len(rows) < len(labels),
        )

    def _column(self, mode: Mode, run: Trace, step: StepVerdict) -> Float | None:
        """Each place's error in floors of its step, (places,); None where tensors are missing or differ in shape."""
        key, deviation = step.key, step.lockstep if mode == "lockstep" else step.free
        if key not in run.records:
            return None
        true, value = self._evidence.oracle.tensor(key), run.tensor(key)
        if true is None or value is None or true.shape != value.shape:
            return None
        layout, floor = layout_of(key, self._evidence.oracle), deviation.floor if deviation else 0.0
        oracle = layout.matrix(as_float64(true))
        error = difference(oracle=oracle, candidate=layout.matrix(as_float64(value)))
        scale = float(np.sqrt(np.mean(np.square(oracle[np.isfinite(oracle)])))) if oracle.size else 0.0
        return np.array([in_floors(size, scale, floor) for size in np.sqrt(np.square(error).mean(axis=1)).tolist()])


def _family(step: StepVerdict) -> tuple[Alike, int | None]:
    before, layer, after = split(step.step)
    return (step.phase, before, after), layer
