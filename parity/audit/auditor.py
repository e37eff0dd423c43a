"""Runs the candidates of an audit: oracle and baseline once for each kind of inputs, each candidate loaded once."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from parity.audit.effect import effect
from parity.audit.outcome import Outcome
from parity.audit.trial import Trial
from parity.checkpoint import Checkpoint
from parity.diagnosis.naming import namer_of
from parity.errors import ExitCode, ParityError
from parity.fault import Inputs
from parity.judging.baseline import Baseline, judged
from parity.placing import EVERYWHERE
from parity.running.parties import Parties
from parity.running.party import Crash, Party, both
from parity.running.progress import Progress
from parity.scratch import scratch
from parity.traces.runs import Runs
from parity.traces.trace import Trace
from parity.variant import Catalogue
from parity.variants.planting import WORKERS


@dataclass(frozen=True)
class _Case:
    """What all candidates of one kind of inputs are judged by; the baseline runs when the first is."""

    folder: Path
    oracle: Trace
    baseline: Baseline


def _held_to(trial: Trial) -> tuple[Inputs, tuple[str, ...]]:
    """What a candidate is run with, and what the reference is varied by meanwhile."""
    return trial.inputs.given, trial.alike or ()


class Auditor:
    """Runs and judges the candidates of an audit in one arithmetic. Use as a context: it ends the parties.

    Args:
        catalogue: gives the reference, the prompt and the samples.
        checkpoint: of all parties.
        dtype: the arithmetic of candidates and baseline.
        progress: told of each party's work.
        diagnosed: whether the cause of what a fault introduces is looked for.
    """

    def __init__(
        self, catalogue: Catalogue, checkpoint: Checkpoint, dtype: str, progress: Progress, *, diagnosed: bool = True
    ) -> None:
        self._catalogue, self._checkpoint, self._dtype = catalogue, checkpoint, dtype
        self._progress, self._diagnosed = progress, diagnosed
        self._candidates: dict[str, Party] = {}
        self._left: Counter[str] = Counter()
        self._varied = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = stack.enter_context(scratch())
            self._pool = stack.enter_context(ThreadPoolExecutor(WORKERS))
            parties = Parties(self._checkpoint, self._catalogue.reference, self._progress)
            self._parties = stack.enter_context(parties)
            self._oracle, self._baseline = parties.oracle, parties.reference("baseline", self._dtype)
            list(self._pool.map(parties.load, parties))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._stack.close()  # the parties before the pool is left, which waits for what they do

    def outcomes(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """What becomes of each trial, all of the same inputs and the same reference together."""
        self._left = Counter(trial.candidate for trial in trials)
        done = 0
        for inputs, alike in dict.fromkeys(map(_held_to, trials)):
            together = [trial for trial in trials if _held_to(trial) == (inputs, alike)]
            case = self._case(inputs, alike)
            jobs = [(trial, self._pool.submit(self._runs, trial, case)) for trial in together]
            for trial, job in jobs:
                done += 1
                self._progress.start("audit", 0, f"{self._dtype}: {done} of {len(trials)} runs")
                yield self._outcome(trial, case, job)
            shutil.rmtree(case.folder)

    def _case(self, inputs: Inputs, alike: Sequence[str]) -> _Case:
        if alike or self._varied:  # each time, for to name a cause takes them back
            for party in (self._oracle, self._baseline):
                party.call("vary", variants=[[name, EVERYWHERE] for name in alike])
        self._varied = bool(alike)
        folder = self._folder / "_".join((inputs.scenario, *inputs.media))
        media = self._catalogue.files(inputs.media)
        oracle = self._parties.oracle_run(folder, inputs.scenario, self._catalogue.prompt, media)
        return _Case(folder, oracle, Baseline(self._baseline, oracle, folder))

    def _runs(self, trial: Trial, case: _Case) -> Runs:
        """Both runs of a candidate, which is loaded when first needed and ended behind its last trial."""
        try:
            party = self._candidates.get(trial.candidate) or self._loaded(trial.candidate)
            return both(party, case.folder / trial.candidate.replace("/", "_"), case.oracle)
        except Crash:
            self._end(trial.candidate)
            raise
        finally:
            self._left[trial.candidate] -= 1
            if not self._left[trial.candidate]:
                self._end(trial.candidate)

    def _loaded(self, candidate: str) -> Party:
        party = self._candidates[candidate] = self._parties.candidate(candidate, self._dtype)
        try:
            return self._parties.load(party)
        except ParityError:
            self._end(candidate)
            raise

    def _end(self, candidate: str) -> None:
        if party := self._candidates.pop(candidate, None):
            self._parties.end(party)

    def _outcome(self, trial: Trial, case: _Case, job: Future[Runs]) -> Outcome:
        """A candidate that cannot run is an outcome of its own: the others go on."""
        try:
            runs = job.result()
        except ParityError as error:
            message = str(error).replace(str(self._checkpoint.path), self._checkpoint.name)
            crashed = isinstance(error, Crash)
            return Outcome(trial, self._dtype, ExitCode.UNAVAILABLE, message=message, crashed=crashed)
        judgement, held_to = judged(oracle=case.oracle, baseline=case.baseline, candidate=runs, name=trial.candidate)
        if self._diagnosed and trial.fault and judgement.introduced:
            namer = namer_of(self._catalogue.reference, self._oracle, self._progress)
            judgement = namer.named(judgement, oracle=case.oracle, baseline=held_to, candidate=runs)
        outcome = Outcome.of(trial, judgement, effect(oracle=case.oracle, candidate=runs.free))
        for run in runs.present:
            shutil.rmtree(run.path, ignore_errors=True)
        return outcome
