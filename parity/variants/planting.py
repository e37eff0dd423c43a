"""Runs variants as candidates: oracle, baseline and floors once a case, and the variants on models loaded once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import local
from types import TracebackType
from typing import Self

from parity.checkpoint import Checkpoint
from parity.diagnosis.matched import PartyPlant
from parity.diagnosis.together import Remembered, TensorsAt
from parity.errors import ParityError
from parity.judging.baseline import Baseline
from parity.running.cache import cache
from parity.running.parties import Parties
from parity.running.party import Party
from parity.running.progress import Progress
from parity.scratch import scratch
from parity.traces.trace import Key, Mode, Trace
from parity.variant import Catalogue, Variant
from parity.variants.scorer import Scorer
from parity.variants.scoring import Score

WORKERS = 2
ALONE = {"OMP_NUM_THREADS": "1"}
"""A thread for each worker: two that share two cores would wait for one another."""


@dataclass(frozen=True)
class Case:
    """Variants that need the same inputs."""

    scenario: str
    media: tuple[str, ...]
    variants: tuple[Variant, ...]


def cases(variants: Iterable[Variant]) -> tuple[Case, ...]:
    """Variants by what they need, so that the oracle and the baseline run once for all of a case."""
    groups: dict[tuple[str, tuple[str, ...]], list[Variant]] = {}
    for variant in variants:
        groups.setdefault((variant.scenario, variant.media), []).append(variant)
    return tuple(Case(scenario, media, tuple(found)) for (scenario, media), found in groups.items())


class Nursery:
    """The parties that variants need, each loaded once. Use as a context: it ends them.

    Args:
        catalogue: gives the prompt and the samples.
        checkpoint: of all parties.
        dtype: the arithmetic of the variants.
        progress: told of each party's work.
    """

    def __init__(self, catalogue: Catalogue, checkpoint: Checkpoint, dtype: str, progress: Progress) -> None:
        self._catalogue = catalogue
        self._checkpoint = checkpoint
        self._dtype = dtype
        self._progress = progress
        self._idle: SimpleQueue[Party] = SimpleQueue()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = stack.enter_context(scratch())
            self._pool = stack.enter_context(ThreadPoolExecutor(WORKERS + 1))
            parties = Parties(
                self._checkpoint, self._catalogue.reference, self._progress, environment=ALONE, kept=cache()
            )
            self._parties = stack.enter_context(parties)
            self._plant, self._coarse = Remembered(PartyPlant(parties.oracle)), Remembered(self._planted_coarsely)
            self._baseline = parties.reference("baseline", self._dtype)  # its own: the workers have bugs
            workers = [parties.reference(f"worker {number}", self._dtype) for number in range(1, WORKERS + 1)]
            self._current = local()
            list(self._pool.map(parties.load, parties))
            for worker in workers:
                self._idle.put(worker)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()  # the parties before the pool, which waits for what they do

    def scores(self, variants: Sequence[Variant]) -> Iterator[Score]:
        """The score of each variant, case by case, as they come."""
        done = 0
        for number, case in enumerate(cases(variants)):
            folder = self._folder / str(number)
            scorer = self._scorer(case, folder)
            for score in self._pool.map(lambda variant: self._score(variant, folder, scorer), case.variants):  # noqa: B023
                done += 1
                self._progress.start("variants", 0, f"{done} of {len(variants)} judged")
                yield score
            shutil.rmtree(folder)

    def _scorer(self, case: Case, folder: Path) -> Scorer:
        """What the variants of a case are judged by: the oracle's run, and the baseline's two."""
        parts = self._catalogue.parts(case.variants[0])
        oracle = self._parties.oracle_run(folder, case.scenario, self._catalogue.prompt, parts)
        self._plant.forget()
        self._coarse.forget()
        return Scorer(oracle, Baseline(self._baseline, oracle, folder), self._catalogue, self._plant, self._coarse)

    def _planted_coarsely(
        self, variants: Sequence[Variant], oracle: Trace, keys: Collection[Key], missing: frozenset[str] = frozenset()
    ) -> TensorsAt:
        """Plant in the arithmetic of the variants: the worker whose variant is being named has run it, and is free."""
        return PartyPlant(self._current.worker)(variants, oracle, keys, missing)

    def _score(self, variant: Variant, folder: Path, scorer: Scorer) -> Score:
        worker, output = self._idle.get(), folder / variant.name

        def run(mode: Mode) -> Trace:
            return worker.run(output / mode, oracle=scorer.oracle, mode=mode)

        try:
            return _guarded(variant, self._dtype, lambda: self._varied(worker, variant, scorer, run))
        finally:
            shutil.rmtree(output, ignore_errors=True)
            self._idle.put(worker)

    def _varied(self, worker: Party, variant: Variant, scorer: Scorer, run: Callable[[Mode], Trace]) -> Score:
        self._current.worker = worker
        worker.call("vary", variants=[[variant.name, variant.place]])
        try:
            return scorer.score(variant, run)
        finally:
            worker.call("vary", variants=[])


def _guarded(variant: Variant, dtype: str, action: Callable[[], Score]) -> Score:
    """A variant that cannot run is a score of its own: the others go on."""
    try:
        return action()
    except ParityError as error:
        return Score(variant, dtype, flagged=False, crash=str(error))
