"""Runs variants as candidates: oracle, baseline and floors once a case, and the variants on models loaded once."""

from __future__ import annotations

import shutil
import tempfile
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
from parity.diagnosis.together import Remembered, Tensors
from parity.discovery import REFERENCES
from parity.errors import ParityError
from parity.judging.baseline import Baseline
from parity.running.party import Party
from parity.running.plan import ORACLE_DTYPE, plan_of
from parity.running.progress import Progress
from parity.traces.trace import Key, Mode, Trace
from parity.variant import Catalogue, Variant
from parity.variants.bench import Bench
from parity.variants.scoring import Score

WORKERS = 2
"""With a thread each: two that share two cores would wait for one another."""
MODES: tuple[Mode, Mode] = ("free", "lockstep")


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
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parity-variants-")))
            self._pool = stack.enter_context(ThreadPoolExecutor(WORKERS + 1))
            self._oracle = self._party(stack, "oracle")
            self._baseline = self._party(stack, "baseline")  # its own: the workers have bugs while they are asked
            self._workers = [self._party(stack, f"worker {number}") for number in range(1, WORKERS + 1)]
            self._plant, self._coarse = Remembered(PartyPlant(self._oracle)), Remembered(self._planted_coarsely)
            self._current = local()
            self._load()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for party in (self._oracle, self._baseline, *self._workers):
            party.close()  # before the pool, which waits for what they do
        self._stack.close()

    def scores(self, variants: Sequence[Variant]) -> Iterator[Score]:
        """The score of each variant, case by case, as they come."""
        done = 0
        for number, case in enumerate(cases(variants)):
            folder = self._folder / str(number)
            bench = self._bench(case, folder)
            for score in self._pool.map(lambda variant: self._score(variant, folder, bench), case.variants):  # noqa: B023
                done += 1
                self._progress.start("variants", 0, f"{done} of {len(variants)} judged")
                yield score
            shutil.rmtree(folder)

    def _party(self, stack: ExitStack, name: str) -> Party:
        party = Party(name, self._catalogue.reference, group=REFERENCES, progress=self._progress, threads=1)
        return stack.enter_context(party)

    def _load(self) -> None:
        others = (self._baseline, *self._workers)
        parties = ((self._oracle, ORACLE_DTYPE), *((party, self._dtype) for party in others))
        list(self._pool.map(lambda party: party[0].load(self._checkpoint, party[1]), parties))
        for worker in self._workers:
            self._idle.put(worker)

    def _bench(self, case: Case, folder: Path) -> Bench:
        """What the variants of a case are judged by: the oracle's run, and the baseline's two."""
        parts = self._catalogue.parts(case.variants[0])
        plan = plan_of(self._oracle, case.scenario, self._catalogue.prompt, parts)
        oracle = self._oracle.run(folder / "oracle", scenario=plan)
        self._plant.forget()
        self._coarse.forget()
        return Bench(oracle, Baseline(self._baseline, oracle, folder), self._catalogue, self._plant, self._coarse)

    def _planted_coarsely(
        self, variants: Sequence[Variant], oracle: Trace, keys: Collection[Key], missing: frozenset[str] = frozenset()
    ) -> Tensors:
        """In the arithmetic of the variants: the worker whose variant is being named has run it, and is free."""
        return PartyPlant(self._current.worker)(variants, oracle, keys, missing)

    def _score(self, variant: Variant, folder: Path, bench: Bench) -> Score:
        worker, output = self._idle.get(), folder / variant.name

        def run(mode: Mode) -> Trace:
            return worker.run(output / mode, oracle=bench.oracle, mode=mode)

        try:
            return _guarded(variant, self._dtype, lambda: self._varied(worker, variant, bench, run))
        finally:
            shutil.rmtree(output, ignore_errors=True)
            self._idle.put(worker)

    def _varied(self, worker: Party, variant: Variant, bench: Bench, run: Callable[[Mode], Trace]) -> Score:
        self._current.worker = worker
        worker.call("vary", variants=[[variant.name, variant.place]])
        try:
            return bench.score(variant, run)
        finally:
            worker.call("vary", variants=[])


def _guarded(variant: Variant, dtype: str, action: Callable[[], Score]) -> Score:
    """A variant that cannot run is a score of its own: the others go on."""
    try:
        return action()
    except ParityError as error:
        return Score(variant, dtype, flagged=False, crash=str(error))
