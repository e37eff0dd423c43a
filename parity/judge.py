"""The judge: aligns a candidate's runs with the oracle's, and holds each step's error against the measured floor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from parity.contract import Step
from parity.dtypes import kind_of, unit_roundoff
from parity.errors import UsageError
from parity.floors import Floor, Floors
from parity.greedy import greedy
from parity.lengths import Lengths
from parity.measure import Error, error_of
from parity.trace import Key, Record, Trace
from parity.verdict import Deviation, Judgement, Status, StepVerdict

ALLOWED = 4.0
"""K: a candidate may err by so many floors. Four legitimate reorderings stayed below, real bugs above."""


@dataclass(frozen=True)
class Runs:
    """A party's free run and its lockstep run; a trace written elsewhere may have one of them only."""

    free: Trace | None
    lockstep: Trace | None

    @property
    def present(self) -> tuple[Trace, ...]:
        """The runs that there are."""
        return tuple(run for run in (self.free, self.lockstep) if run is not None)


def judge(
    *, oracle: Trace, baseline: Runs | None, candidate: Runs, name: str | None = None, allowed: float = ALLOWED
) -> Judgement:
    """Judge one candidate in one scenario; `name` is what reports call it, its backend's name unless given.

    Without a baseline the floor is unmeasured, and the unit roundoff of the candidate's dtype alone stands in for it.

    Raises:
        UsageError: when the traces are of different checkpoints, contracts, scenarios or arithmetics, or the oracle's
            lacks a step.
    """
    require_whole(oracle)
    first = candidate.present[0].manifest
    for run in (*candidate.present, *(baseline.present if baseline else ())):
        require_same(oracle=oracle, other=run)
        if run.manifest.dtype != first.dtype:
            raise UsageError(f"trace {run.path} is in {run.manifest.dtype}, the candidate in {first.dtype}")
    free, lockstep = (baseline.free, baseline.lockstep) if baseline else (None, None)
    floors = _floors(oracle, free, lockstep)
    judging = Judge(oracle=oracle, candidate=candidate, floors=floors, allowed=allowed)
    return Judgement(
        candidate=name or first.backend,
        dtype=first.dtype,
        scenario=oracle.scenario.name,
        steps=tuple(judging.verdicts()),
        tokens=tuple(greedy(oracle=oracle, baseline=free, candidate=candidate.free, allowed=allowed)),
        allowed=allowed,
        versions=tuple(first.versions.items()),
        measured=baseline is not None,
    )


def require_whole(oracle: Trace) -> None:
    """Refuse an oracle that does not say what each step of its contract should be.

    Raises:
        UsageError: naming the first step that it lacks.
    """
    for chunk in oracle.scenario.chunks:
        for step in oracle.contract.expected(chunk.holds):
            if Key(chunk.phase, step.name) not in oracle.records:
                raise UsageError(f"the oracle's trace {oracle.path} lacks {step.name} in {chunk.phase}; write it again")


def require_same(*, oracle: Trace, other: Trace) -> None:
    """Refuse to compare what is not comparable.

    Raises:
        UsageError: naming what differs.
    """
    for what in ("model", "weights", "contract", "scenario"):
        true, value = getattr(oracle.manifest, what), getattr(other.manifest, what)
        if true != value:
            shown = "" if what == "scenario" else f" ({value}, the oracle's is {true})"
            raise UsageError(f"trace {other.path} is of another {what}{shown}; write both with the same command")


class Held(Protocol):
    """What a candidate is held to: `parity.floors.Floors`, or what was kept of them."""

    def lockstep(self, key: Key) -> Floor:
        """What the step errs from exact inputs."""
        ...

    def free(self, key: Key) -> Floor:
        """What the step errs at the end of everything before it."""
        ...


class Measure(Protocol):
    """How far one step of a candidate is from the oracle's."""

    def __call__(self, key: Key, *, oracle: Trace, candidate: Trace) -> Error:
        """The error."""
        ...


class Judge:
    """Everything that is needed to judge a candidate's steps."""

    def __init__(
        self, *, oracle: Trace, candidate: Runs, floors: Held, allowed: float, measure: Measure = error_of
    ) -> None:
        self._oracle = oracle
        self._candidate = candidate
        self._contract = oracle.contract
        self._dtype = candidate.present[0].manifest.dtype
        self._allowed = allowed
        self._largest = 1.0
        self._floors = floors
        self._measure = measure

    def verdicts(self) -> Iterator[StepVerdict]:
        """All steps, phase after phase, in execution order; what the contract lacks behind each phase."""
        emitted = dict.fromkeys(key for run in self._candidate.present for key in run.records)
        lengths = Lengths(self._oracle, self._candidate.present)
        for chunk in self._oracle.scenario.chunks:
            exact = True  # until a step is missing: the steps behind it no longer start from the oracle's values
            for step in self._contract.expected(chunk.holds):
                verdict = self._verdict(Key(chunk.phase, step.name), step, exact)
                exact = exact and verdict.status not in (Status.UNCOVERED, Status.CONTRACT)
                yield lengths.attributed(verdict)
            for key in emitted:
                if key.phase == chunk.phase and key not in self._oracle.records:
                    yield StepVerdict(key.phase, key.step, key.occurrence, Status.UNEXPECTED, note=self._surplus(key))

    def from_exact_inputs(self, key: Key, step: Step) -> Deviation:
        """How far a step of the lockstep run is off, which there must be."""
        found, _ = self._deviation(key, step, self._candidate.lockstep, self._floors.lockstep(key))
        assert found is not None
        return found

    def _surplus(self, key: Key) -> str:
        return "emitted more than once" if self._contract.get(key.step) else "not in the contract"

    def _verdict(self, key: Key, step: Step, exact: bool) -> StepVerdict:
        if any(key not in run.records for run in self._candidate.present):
            return self._absent(key)
        for run in self._candidate.present:
            if breach := _breach(self._oracle.records[key], run.records[key], step):
                return StepVerdict(key.phase, key.step, 0, Status.CONTRACT, note=breach)
        grown, own = self._floors.free(key), self._floors.lockstep(key)
        lockstep, broken = self._deviation(key, step, self._candidate.lockstep, own if exact else own | grown)
        free, broken_free = self._deviation(key, step, self._candidate.free, grown.times(self._spread(lockstep)))
        status = self._status(free, lockstep)
        if broken or (broken_free and lockstep is None):
            note = f"{broken or broken_free} values"
            return StepVerdict(key.phase, key.step, 0, Status.NONFINITE, free, lockstep, note)
        if broken_free and status is Status.OK:
            status = Status.INHERITED
        return StepVerdict(key.phase, key.step, 0, status, free, lockstep)

    def _absent(self, key: Key) -> StepVerdict:
        """Hidden where all runs say why the step cannot be observed, and none emits it; the logits never are."""
        runs = self._candidate.present
        shown = key.step == self._contract.logits or any(key in run.records for run in runs)
        why = "" if shown else min(run.manifest.why_hidden(key.step) for run in runs)
        status = Status.HIDDEN if why else Status.UNCOVERED
        return StepVerdict(key.phase, key.step, 0, status, note=why or "not emitted")

    def _spread(self, lockstep: Deviation | None) -> float:
        """How many floors any step so far erred from exact inputs, at least 1 and at most K.

        Errors add up: where each step errs up to R floors, all that follows errs R times the baseline's.
        """
        if lockstep is not None and lockstep.ratio <= self._allowed:
            self._largest = max(self._largest, lockstep.ratio)
        return self._largest

    def _status(self, free: Deviation | None, lockstep: Deviation | None) -> Status:
        """Comparisons are written so that NaN is never within."""
        if lockstep is not None and not lockstep.ratio <= self._allowed:
            return Status.INTRODUCED
        if free is not None and not free.ratio <= self._allowed:
            return Status.INHERITED if lockstep is not None else Status.INTRODUCED
        return Status.OK

    def _deviation(self, key: Key, step: Step, run: Trace | None, floor: Floor) -> tuple[Deviation | None, int]:
        """The error of one run over its floor, and how many values are non-finite on one side only."""
        if run is None:
            return None, 0
        error = self._measure(key, oracle=self._oracle, candidate=run)
        if step.kind == "float":
            floor = floor.at_least(unit_roundoff(step.arithmetic or self._dtype))
        whole = (error.relative, floor.relative) if error.beyond is None else (error.beyond, floor.beyond)
        ratio = max(_times(*whole), _times(error.worst, floor.worst))
        deviation = Deviation(error.relative, floor.relative, ratio, error.worst_token, error.worst, floor.worst)
        return deviation, error.nonfinite


@lru_cache(maxsize=8)  # all candidates of one scenario share a baseline
def _floors(oracle: Trace, free: Trace | None, lockstep: Trace | None) -> Floors:
    return Floors(oracle=oracle, free=free, lockstep=lockstep)


def _times(error: float, floor: float) -> float:
    """How many floors an error is. Integers and masks have no floor: any error is infinitely many."""
    if error == 0.0:
        return 0.0
    return error / floor if floor > 0.0 else math.inf


def _breach(oracle: Record, candidate: Record, step: Step) -> str:
    """How the candidate's record breaks the contract, or nothing."""
    if candidate.shape != oracle.shape:
        return f"shape {candidate.shape}, the contract's ({' '.join(step.axes)}) is {oracle.shape}"
    if (kind := kind_of(candidate.dtype)) != step.kind:
        return f"{candidate.dtype} is {kind}, the contract asks for {step.kind}"
    return ""
