"""The baseline of one scenario: the reference in a candidate's arithmetic, in several executions, for any coverage."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Protocol

from parity.errors import UsageError
from parity.judging.judge import Measure, judge
from parity.judging.judgement import Judgement
from parity.traces.coverage import NOTHING, Missing, missing
from parity.traces.measure import error_of
from parity.traces.measured import PLAIN, Errors, Execution, read, write
from parity.traces.runs import Runs
from parity.traces.trace import Mode, Trace

NAME = "baseline"


class Runner(Protocol):
    """The loaded reference: `parity.running.party.Party`."""

    def executions(self) -> tuple[tuple[str, ...], bool]:
        """Names of its further executions, and whether it can add one term after the other."""
        ...

    def run(self, output: Path, *, oracle: Trace, mode: Mode, missing: Missing) -> Trace:
        """Write the trace of a run."""
        ...

    def measure(self, execution: str, *, oracle: Trace, mode: Mode, missing: Missing) -> Errors:
        """What a run of an execution errs."""
        ...


class Baseline:
    """Runs what it is asked for, once. Threads may share it.

    Its lockstep run has exact values just where a candidate emits them, so candidates of equal coverage share one. The
    run as it is leaves traces, for reports show them; of further executions only the errors are kept, beside them.

    Args:
        party: the loaded reference; one baseline at a time may use it.
        oracle: its run of the scenario.
        folder: where traces are written, beside the candidates'.
    """

    def __init__(self, party: Runner, oracle: Trace, folder: Path) -> None:
        self._party, self._oracle, self._folder = party, oracle, folder
        self._lock = Lock()
        self._found: dict[Missing, Runs] = {}
        self._plain: dict[Missing, Execution] = {}
        self._places: dict[Missing, str] = {}

    def begin(self) -> None:
        """Run what any candidate needs, before it is known which steps that emits."""
        with self._lock:
            _ = self._free, self._errors

    def runs(self, candidate: Runs | None = None) -> Runs:
        """What a candidate is held to; without one, what a candidate is that emits every step."""
        gap = missing(oracle=self._oracle, run=candidate.lockstep) if candidate else NOTHING
        with self._lock:
            if gap not in self._found:
                self._places[gap] = f"{NAME}-{len(self._found)}" if gap else NAME
                lockstep = self._run(f"{self._places[gap]}.lockstep", "lockstep", gap)
                executions = tuple(self._execution(name, errors, gap) for name, errors in self._errors.items())
                self._found[gap] = Runs(self._free, lockstep, executions)
            return self._found[gap]

    def with_plain(self, runs: Runs, candidate: Runs) -> Runs:
        """The same with the execution that adds one term after the other, where the reference has it."""
        gap = missing(oracle=self._oracle, run=candidate.lockstep)
        with self._lock:
            if gap not in self._plain and self._names[1]:
                self._plain[gap] = self._execution(PLAIN, self._plain_errors, gap)
            return replace(runs, plain=self._plain.get(gap))

    @cached_property
    def _names(self) -> tuple[tuple[str, ...], bool]:
        return self._party.executions()

    @cached_property
    def _free(self) -> Trace:
        return self._run(f"{NAME}.free", "free", NOTHING)

    @cached_property
    def _errors(self) -> dict[str, Errors]:
        """What each further execution errs in the free run, which no coverage changes."""
        return {name: self._measured(name, "free") for name in self._names[0]}

    @cached_property
    def _plain_errors(self) -> Errors:
        return self._measured(PLAIN, "free")

    def _execution(self, name: str, free: Errors, gap: Missing) -> Execution:
        found = Execution(name, free, self._measured(name, "lockstep", gap))
        write(found, self._folder / f"{self._places[gap]}.{name}")
        return found

    def _measured(self, name: str, mode: Mode, gap: Missing = NOTHING) -> Errors:
        return self._party.measure(name, oracle=self._oracle, mode=mode, missing=gap)

    def _run(self, name: str, mode: Mode, gap: Missing) -> Trace:
        return self._party.run(self._folder / name, oracle=self._oracle, mode=mode, missing=gap)


def kept(oracle: Trace, candidate: Runs) -> Runs | None:
    """What a comparison left beside its oracle's trace for candidates of that coverage; None where it left nothing.

    Raises:
        UsageError: where it is damaged, or of other coverages alone.
    """
    folder, gap = oracle.path.parent, missing(oracle=oracle, run=candidate.lockstep)
    if not (folder / f"{NAME}.free").is_dir():
        return None
    for lockstep in map(Trace.read, sorted(folder.glob(f"{NAME}*.lockstep"))):
        if candidate.lockstep is None or missing(oracle=oracle, run=lockstep) == gap:
            place = lockstep.path.name.removesuffix(".lockstep")
            found = [read(path.parent) for path in sorted(folder.glob(f"{place}.*/lockstep.json"))]
            plain = next((each for each in found if each.name == PLAIN), None)
            others = tuple(each for each in found if each.name != PLAIN)
            return Runs(Trace.read(folder / f"{NAME}.free"), lockstep, others, plain)
    raise UsageError(f"{folder} has no baseline of the coverage of {candidate.present[0].path}; compare again")


FAR = 64.0
"""Floors that no plain order explains: a sum of 2,048 terms errs some 13 times as much one after the other."""


def judged(
    *, oracle: Trace, baseline: Baseline, candidate: Runs, name: str | None = None, measure: Measure = error_of
) -> tuple[Judgement, Runs]:
    """The verdict on a candidate, and what it was held to.

    Where a step is beyond its floors by so little that the order of a sum may be why, the plain order runs too.
    """
    held_to = baseline.runs(candidate)
    judgement = judge(oracle=oracle, baseline=held_to, candidate=candidate, name=name, measure=measure)
    if not in_doubt(judgement):
        return judgement, held_to
    loosest = baseline.with_plain(held_to, candidate)
    return judge(oracle=oracle, baseline=loosest, candidate=candidate, name=name, measure=measure), loosest


def in_doubt(judgement: Judgement) -> bool:
    """Whether what diverges may be coarse: a step that errs by itself, or, where none does, what adds up."""
    wrong = [step for step in judgement.steps if step.status.diverged]
    own = [step.lockstep.ratio for step in wrong if step.status.origin and step.lockstep]
    return min(own, default=0.0) <= FAR if wrong else False
