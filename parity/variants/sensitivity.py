"""The smallest fault that the judge sees at each step, measured: one is put there, and made larger until it is flagged.

A step that is ok may still be wrong, by less than this. Each value of what the baseline computed from exact inputs
gets an error of its own, normally distributed and in proportion to the value: a fault that is everywhere in the tensor.
The judge's own measure and floors say from which size on the step is no longer ok. A fault in one place alone is seen
when it is smaller, for the worst place counts as much as the whole.

A report measures nothing of this: what may hide in a step is what the judge allows there
(`parity.judging.verdict.Deviation`), some K floors, which these figures confirm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from parity.checkpoint import Checkpoint
from parity.contract import Contract, Step
from parity.dtypes import as_float64
from parity.judging.baseline import Baseline
from parity.judging.floors import Floors
from parity.judging.judge import ALLOWED, Judge
from parity.media import Part
from parity.running.parties import Parties
from parity.running.progress import Progress
from parity.scratch import scratch
from parity.traces.measure import Error, Float, Scale, exact
from parity.traces.runs import Runs
from parity.traces.trace import Key, Trace

FINE = 0.01
"""How finely a size is searched for, relative to it."""
LARGEST_FAULT = 2.0**20
"""A fault of that size which is not flagged is taken for one that never is."""


@dataclass(frozen=True)
class Smallest:
    """The smallest fault that is seen at a step of one phase.

    Attributes:
        size: of the fault, in L2, relative to what the judge holds errors against; 0 where a single element that
            differs is seen, as of integers and masks; infinite where none is.
        floor: what the step is held to.
    """

    key: Key
    size: float
    floor: float


@dataclass(frozen=True)
class Sensitivity:
    """The smallest fault of every step and phase that ran, in execution order, in one arithmetic."""

    contract: Contract
    dtype: str
    smallest: tuple[Smallest, ...]


class Planted:
    """Measures a step of the baseline as if it had a fault: what `judge` takes for the measure of a candidate.

    Args:
        key: of the step.
        step: says whether values may be off by a little.
        oracle: its trace, with tensors.
        lockstep: the baseline's, with tensors.

    Attributes:
        size: of the fault, in L2, relative to what the judge holds errors against.
    """

    def __init__(self, key: Key, step: Step, *, oracle: Trace, lockstep: Trace) -> None:
        true, made = (as_float64(_tensor(trace, key)) for trace in (oracle, lockstep))
        self.size = 0.0
        self._true, self._made = true, made
        self._scale = Scale.of(key, true, oracle=oracle, dtype=lockstep.manifest.dtype)
        draw = np.random.default_rng(0)
        fault = _spread(true, draw) if step.kind == "float" else _one(true, self._scale.valid, draw)
        relative = self._error(true + fault).relative
        self._fault = fault / relative if 0.0 < relative < math.inf else fault

    def __call__(self, key: Key, *, oracle: Trace, candidate: Trace) -> Error:
        """The error with the fault."""
        return self._error(self._made + self.size * self._fault)

    def _error(self, value: Float) -> Error:
        return exact(oracle=self._true, candidate=value, scale=self._scale)


def sensitivities(*, oracle: Trace, baseline: Runs, allowed: float = ALLOWED) -> Iterator[Smallest]:
    """The smallest fault of every step and phase, in execution order; both traces have their tensors."""
    assert baseline.lockstep is not None
    floors = Floors(oracle=oracle, free=baseline.free, lockstep=baseline.lockstep, executions=baseline.executions)
    runs = Runs(free=None, lockstep=baseline.lockstep)
    for key in oracle.records:
        if (step := oracle.contract.get(key.step)) is None:
            continue
        fault = Planted(key, step, oracle=oracle, lockstep=baseline.lockstep)
        judging = Judge(oracle=oracle, candidate=runs, floors=floors, allowed=allowed, measure=fault)
        yield smallest(key, step, judging, fault, allowed)


def smallest(key: Key, step: Step, judging: Judge, fault: Planted, allowed: float = ALLOWED) -> Smallest:
    """Search one step's."""

    def seen(size: float) -> bool:
        fault.size = size
        return not judging.from_exact_inputs(key, step).ratio <= allowed

    floor = judging.from_exact_inputs(key, step).floor
    if step.kind != "float":
        return Smallest(key, 0.0 if seen(1.0) else math.inf, floor)
    if seen(0.0):
        return Smallest(key, 0.0, floor)
    size = allowed * floor
    while not seen(size) and size < LARGEST_FAULT:
        size *= 2
    while seen(size / 2):
        size /= 2
    low, high = size / 2, size
    while high - low > FINE * high:
        middle = (low + high) / 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return Smallest(key, high if size < LARGEST_FAULT else math.inf, floor)


def measured(
    checkpoint: Checkpoint,
    *,
    dtype: str,
    scenario: str,
    prompt: str | None,
    media: tuple[Part, ...],
    progress: Progress,
    reference: str,
) -> Sensitivity:
    """Run oracle and baseline, and search.

    Raises:
        UsageError: for a scenario that cannot be.
        BackendUnavailable: when the reference fails.
    """
    with scratch() as folder, Parties(checkpoint, reference, progress) as parties:
        _, baseline = (parties.load(party) for party in (parties.oracle, parties.reference("baseline", dtype)))
        oracle = parties.oracle_run(folder, scenario, prompt, media)
        runs = Baseline(baseline, oracle, folder).runs()
        found = sensitivities(oracle=oracle, baseline=runs)
        return Sensitivity(oracle.contract, dtype, tuple(found))


def _tensor(trace: Trace, key: Key) -> np.ndarray:
    tensor = trace.tensor(key)
    assert tensor is not None, f"{trace.path} keeps no tensors"
    return tensor


def _spread(true: Float, draw: np.random.Generator) -> Float:
    """An error of each value in proportion to it."""
    return np.where(np.isfinite(true), true, 0.0) * draw.standard_normal(true.shape)


def _one(true: Float, valid: np.ndarray | None, draw: np.random.Generator) -> Float:
    """One element that counts is off by one."""
    counted = np.ones(true.shape, bool) if valid is None else np.broadcast_to(valid, true.shape)
    error = np.zeros(true.shape)
    error.flat[draw.choice(np.flatnonzero(counted))] = 1.0
    return error
