"""One step, examined: the three parties' statistics, where in the tensor the error is, and how large."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from parity.axes import Layout, said
from parity.dtypes import as_float64
from parity.judging.judgement import Judgement
from parity.judging.verdict import StepVerdict
from parity.report.detail import Column, Detail, Element, Heat, PartyRole
from parity.report.layers import LayerMaps
from parity.report.matrix import (
    channel_map,
    difference,
    error_histogram,
    rounded,
    value_histogram,
)
from parity.report.vocabulary import label
from parity.traces.description import Description
from parity.traces.measure import Float, error_of, validity
from parity.traces.runs import Runs
from parity.traces.scale import layout_of
from parity.traces.trace import Key, Mode, Trace

ELEMENTS = 10
"""Worst elements that a page lists."""


@dataclass(frozen=True)
class Examined:
    """A judgement and the traces that it rests on."""

    judgement: Judgement
    oracle: Trace
    baseline: Runs | None
    candidate: Runs
    pieces: Mapping[int, str]

    def labels(self, phase: str, layout: Layout) -> tuple[str, ...]:
        """What the places of a step are called: its phase's tokens with their text, others by their axes."""
        tokens = self._tokens(phase) if set(layout.sequence) & set(layout.places) else ()
        if len(tokens) == layout.groups(layout.places):
            return tokens
        return tuple(said(layout.where(layout.places, place)) for place in range(layout.groups(layout.places)))

    def _tokens(self, phase: str) -> tuple[str, ...]:
        """What the tokens of a phase are called, batch row after batch row."""
        scenario = self.oracle.scenario
        chunk = next(chunk for chunk in scenario.chunks if chunk.phase == phase)
        rows = chunk.tokens or ((None,) * chunk.length,) * scenario.batch
        several = scenario.batch > 1
        start = scenario.end(phase) - chunk.length
        return tuple(
            label(start + place, token, self.pieces, row=row if several else None)
            for row, tokens in enumerate(rows)
            for place, token in enumerate(tokens)
        )


def examine(step: StepVerdict, evidence: Examined, maps: LayerMaps) -> Detail:
    """Everything that the step's page shows."""
    key = step.key
    mode: Mode = "lockstep" if evidence.candidate.lockstep is not None else "free"
    judgement, record = evidence.judgement, evidence.oracle.records[key]
    tensors = _Tensors.read(key, evidence, mode)
    deviation = step.lockstep if mode == "lockstep" else step.free
    floor = deviation.floor if deviation else 0.0
    return Detail(
        candidate=judgement.candidate,
        dtype=judgement.dtype,
        scenario=judgement.scenario,
        phase=step.phase,
        step=step.step,
        occurrence=step.occurrence,
        axes=tuple(record.axes),
        mode=mode,
        columns=tuple(_columns(key, evidence)),
        layers=maps.of(step),
        channels=tensors.channels(floor) if tensors else None,
        values=value_histogram(tensors.parties) if tensors else None,
        errors=error_histogram(tensors.errors, scale=tensors.scale) if tensors else None,
        worst=tensors.worst() if tensors else (),
    )


@dataclass(frozen=True)
class _Tensors:
    """The parties' tensors of one step as (places, channels), float64."""

    layout: Layout
    parties: dict[str, Float]
    valid: NDArray[np.bool_]
    labels: tuple[str, ...]

    @classmethod
    def read(cls, key: Key, evidence: Examined, mode: Mode) -> _Tensors | None:
        """None where tensors were not kept, or the candidate's has another shape."""
        record = evidence.oracle.records[key]
        runs = {"reference": evidence.oracle, "baseline": _run(evidence.baseline, mode), "candidate": None}
        runs["candidate"] = _run(evidence.candidate, mode)
        found = {name: run.tensor(key) for name, run in runs.items() if run is not None and key in run.records}
        kept = {name: array for name, array in found.items() if array is not None and list(array.shape) == record.shape}
        if not {"reference", "candidate"} <= set(kept) or not kept["reference"].size:
            return None
        layout = layout_of(key, evidence.oracle)
        real = validity(layout, evidence.oracle.scenario, key.phase)
        valid = layout.matrix(np.broadcast_to(np.True_ if real is None else real, layout.shape))
        parties = {name: layout.matrix(as_float64(array)) for name, array in kept.items()}
        labels = evidence.labels(key.phase, layout)
        numbers = tuple(map(str, range(valid.shape[0])))
        return cls(layout, parties, valid, labels if len(labels) == valid.shape[0] else numbers)

    @cached_property
    def errors(self) -> dict[str, Float]:
        """Differences to the reference; none at padding."""
        true = self.parties["reference"]
        others = {name: array for name, array in self.parties.items() if name != "reference"}
        errors = {name: difference(oracle=true, candidate=array) for name, array in others.items()}
        return {name: np.where(self.valid, error, 0.0) for name, error in errors.items()}

    @cached_property
    def scale(self) -> float:
        """Root mean square of what is true."""
        true = self.parties["reference"][self.valid]
        finite = true[np.isfinite(true)]
        return float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0

    def channels(self, floor: float) -> Heat:
        """Where in the tensor the candidate's error is."""
        error = self.errors["candidate"]
        return channel_map(error, scale=self.scale, floor=floor, labels=self.labels, valid=self.valid)

    def worst(self) -> tuple[Element, ...]:
        """The elements with the largest errors, largest first; none where all are exact."""
        sizes = np.abs(self.errors["candidate"]).reshape(-1)
        number = min(ELEMENTS, sizes.size)
        largest = np.argpartition(sizes, -number)[-number:]
        ordered = sorted(largest.tolist(), key=lambda at: (-sizes[at], at))
        return tuple(self._element(at) for at in ordered if sizes[at] > 0)

    def _element(self, at: int) -> Element:
        row, column = divmod(at, self.valid.shape[1])
        numbers = self.layout.matrix(np.arange(self.valid.size).reshape(self.layout.shape))
        index = np.unravel_index(int(numbers[row, column]), self.layout.shape)
        value = {name: float(array[row, column]) for name, array in self.parties.items()}
        place, token = tuple(int(number) for number in index), self.labels[row]
        return Element(place, token, value["reference"], value.get("baseline"), value["candidate"])


def _columns(key: Key, evidence: Examined) -> Iterator[Column]:
    yield _column("reference", evidence.oracle, key, None)
    parties: tuple[tuple[PartyRole, Runs | None], ...] = (
        ("baseline", evidence.baseline),
        ("candidate", evidence.candidate),
    )
    for role, runs in parties:
        for run in (runs.lockstep, runs.free) if runs else ():
            if run is not None and key in run.records:
                alike = run.records[key].shape == evidence.oracle.records[key].shape
                error = error_of(key, oracle=evidence.oracle, candidate=run).relative if alike else None
                yield _column(role, run, key, error)


def _column(role: PartyRole, run: Trace, key: Key, error: float | None) -> Column:
    record = run.records[key]
    numbers = {name: getattr(record, name) for name in Description.names()}
    shown = None if error is None else rounded(error)
    return Column(role, run.manifest.mode, record.dtype, tuple(record.shape), **numbers, error=shown)


def _run(runs: Runs | None, mode: Mode) -> Trace | None:
    if runs is None:
        return None
    return runs.lockstep if mode == "lockstep" else runs.free
