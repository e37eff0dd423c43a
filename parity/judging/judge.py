"""The judge: aligns a candidate's runs with the oracle's, and holds each step's error against the measured floor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from parity.contract import Step
from parity.dtypes import kind_of, unit_roundoff
from parity.errors import UsageError
from parity.judging.determinism import unsteady
from parity.judging.floors import Floor, floors_of
from parity.judging.greedy import greedy
from parity.judging.judgement import Judgement
from parity.judging.lengths import Lengths
from parity.judging.values import values
from parity.judging.verdict import Deviation, Status, StepVerdict, Worst
from parity.traces.coverage import missing
from parity.traces.measure import Error, View, error_of
from parity.traces.runs import Runs
from parity.traces.trace import Key, Record, Trace

ALLOWED = 4.0
"""K: a candidate may err by so many floors. Four legitimate reorderings stayed below, real bugs above."""

LIKE = 2.0
"""A port that adds one term after the other errs as the reference does that way, to within so many times. K times that
would be a dozen floors, in which real bugs fit: an epsilon of 1e-5 for 1e-6 in one norm is 9 floors, 4.8 of plain."""


class Measure(Protocol):
    """How far one step of a candidate is from the oracle's."""

    def __call__(self, key: Key, *, oracle: Trace, candidate: Trace) -> Error:
        """The error."""
        ...


def judge(
    *,
    oracle: Trace,
    baseline: Runs | None,
    candidate: Runs,
    name: str | None = None,
    allowed: float = ALLOWED,
    measure: Measure = error_of,
) -> Judgement:
    """Judge one candidate in one scenario; `name` is what reports call it, its backend's name unless given.

    Where the baseline has no run of a candidate's run's mode, the floor of that is unmeasured, and the unit roundoff of
    the candidate's dtype alone stands in for it.

    Raises:
        UsageError: when the traces are of different checkpoints, contracts, scenarios or arithmetics, or the oracle's
            lacks a step.
    """
    require_every_step(oracle)
    first = candidate.present[0].manifest
    for run in (*candidate.present, *(baseline.present if baseline else ())):
        require_same(oracle=oracle, other=run)
        require_dtype_of(candidate, run)
    held_to = baseline or Runs(None, None)
    steps = tuple(_steps(oracle, held_to, candidate, allowed, measure))
    return Judgement(
        candidate=name or first.backend,
        dtype=first.dtype,
        scenario=oracle.scenario.name,
        steps=steps,
        tokens=tuple(greedy(oracle=oracle, baseline=held_to.free, candidate=candidate.free, allowed=allowed)),
        allowed=allowed,
        versions=tuple(first.versions.items()),
        unmeasured=tuple(mode for mode in candidate.modes if baseline is None or mode not in baseline.modes),
        unsteady=unsteady(oracle=oracle, free=candidate.free, lockstep=candidate.lockstep),
        returned=tuple(candidate.free.manifest.returned.items()) if candidate.free else (),
        values=values(oracle, steps),
    )


def _steps(oracle: Trace, baseline: Runs, candidate: Runs, allowed: float, measure: Measure) -> Iterator[StepVerdict]:
    """The verdict on each step; coarse is what is within the floors only where sums may be added in plain order."""
    exact = same_coverage(oracle, baseline, candidate)

    def held_to(runs: Runs) -> Iterator[StepVerdict]:
        return Judge(
            oracle=oracle,
            candidate=candidate,
            floors=floors_of(oracle, runs),
            exact=exact,
            allowed=allowed,
            measure=measure,
        ).verdicts()

    if baseline.plain is None:
        yield from held_to(baseline)
        return
    plain = baseline.plain.times(LIKE / allowed)
    loosest = replace(baseline, plain=None, executions=(*baseline.executions, plain))
    for verdict, coarsely in zip(held_to(baseline), held_to(loosest), strict=True):
        explained = verdict.status.diverged and coarsely.status is Status.OK
        yield replace(verdict, status=Status.COARSE) if explained else verdict


def same_coverage(oracle: Trace, baseline: Runs, candidate: Runs) -> bool:
    """Whether both lockstep runs have exact values in the same places; where one of them is not, there are none."""
    gaps = [missing(oracle=oracle, run=runs.lockstep) for runs in (baseline, candidate)]
    return gaps[0] == gaps[1]


def require_every_step(oracle: Trace) -> None:
    """Refuse an oracle that does not say what each step of its contract should be, or says one thing and does another.

    Raises:
        UsageError: naming the first step that it lacks, or the logits that differ.
    """
    for chunk in oracle.scenario.chunks:
        for step in oracle.contract.expected(chunk.holds):
            if Key(chunk.phase, step.name) not in oracle.records:
                raise UsageError(f"the oracle's trace {oracle.path} lacks {step.name} in {chunk.phase}; write it again")
    for phase, how in oracle.manifest.returned.items():
        raise UsageError(f"the oracle {oracle.path} returned other logits than it emitted ({phase}: {how}); mend it")


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


def require_dtype_of(candidate: Runs, other: Trace) -> None:
    """Refuse a run of another arithmetic than a candidate's first.

    Raises:
        UsageError: naming both.
    """
    if other.manifest.dtype != (dtype := candidate.present[0].manifest.dtype):
        raise UsageError(f"trace {other.path} is in {other.manifest.dtype}, the candidate in {dtype}")


_ABSENT = (Status.UNCOVERED, Status.HIDDEN, Status.CONTRACT)


class Held(Protocol):
    """What a candidate is held to: `parity.judging.floors.Floors`, or what was kept of them."""

    def lockstep(self, key: Key) -> Floor:
        """What the step errs from exact inputs."""
        ...

    def free(self, key: Key) -> Floor:
        """What the step errs at the end of everything before it."""
        ...


class Judge:
    """Everything that is needed to judge a candidate's steps.

    Args:
        oracle: its run.
        candidate: its runs.
        floors: what correct arithmetic costs at each step.
        exact: whether the floors of lockstep are of the candidate's coverage. Where they are not, a step behind one
            that is missing does not start from the oracle's values, as the baseline's did, and has its free floor.
        allowed: K.
        measure: gives the error of a step.
    """

    def __init__(
        self,
        *,
        oracle: Trace,
        candidate: Runs,
        floors: Held,
        exact: bool = True,
        allowed: float,
        measure: Measure = error_of,
    ) -> None:
        self._oracle = oracle
        self._candidate = candidate
        self._contract = oracle.contract
        self._dtype = candidate.present[0].manifest.dtype
        self._allowed = allowed
        self._largest = 1.0
        self._floors, self._exact = floors, exact
        self._measure = measure

    def verdicts(self) -> Iterator[StepVerdict]:
        """All steps, phase after phase, in execution order; what the contract lacks behind each phase."""
        emitted = dict.fromkeys(key for run in self._candidate.present for key in run.records)
        lengths = Lengths(self._oracle, self._candidate.present)
        for chunk in self._oracle.scenario.chunks:
            exact = True  # until a step is missing, where the baseline's values were replaced
            for step in self._contract.expected(chunk.holds):
                verdict = self._verdict(Key(chunk.phase, step.name), step, exact)
                exact = exact and (self._exact or verdict.status not in _ABSENT)
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
        """A free run alone does not tell which step errs by itself. Comparisons are such that NaN is never within."""
        if lockstep is not None and not lockstep.ratio <= self._allowed:
            return Status.INTRODUCED
        if free is not None and not free.ratio <= self._allowed:
            return Status.INHERITED
        return Status.OK

    def _deviation(self, key: Key, step: Step, run: Trace | None, floor: Floor) -> tuple[Deviation | None, int]:
        """The error of one run over its floor, and how many values are non-finite on one side only."""
        if run is None:
            return None, 0
        error = self._measure(key, oracle=self._oracle, candidate=run)
        if step.kind == "float":
            floor = floor.at_least(unit_roundoff(step.arithmetic or self._dtype))
        if error.samples == 1:
            floor = floor.of_one_place()
        worst = [_worst(view, floor.at(view.look)) for view in error.views]
        whole, parts = worst[0], sorted(worst[1:], key=lambda each: -each.ratio)
        ratio = max(whole.ratio, *(each.ratio for each in parts), 0.0)  # NaN stays: nothing is larger than it
        return Deviation(whole.error, whole.floor, ratio, tuple(parts)), error.nonfinite


def _worst(view: View, floor: float) -> Worst:
    """One view of an error, held to its floor."""
    return Worst(view.look, view.where, view.error, floor, _times(view.error, floor))


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
