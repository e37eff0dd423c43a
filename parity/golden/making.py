"""Making goldens: the reference runs as the oracle and, in every arithmetic, as the baseline."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from parity.checkpoint import find_checkpoint
from parity.contract import Contract
from parity.discovery import find_reference, reference_of
from parity.golden.format import Golden, GoldenManifest
from parity.golden.packing import held_to, pack
from parity.golden.sets import Entry, GoldenSet
from parity.golden.tables import FamilyFloor, GreedyChoice
from parity.judging.baseline import Baseline
from parity.judging.floors import Floors
from parity.judging.greedy import choices, logits_of
from parity.judging.judge import require_every_step
from parity.media import FOLDER
from parity.running.parties import Parties
from parity.running.plan import ORACLE_DTYPE
from parity.running.progress import Progress
from parity.traces.runs import Runs
from parity.traces.scale import family
from parity.traces.trace import Key, Trace

AT_ONCE = 2
"""Baselines that run at the same time: each keeps several cores busy for part of the time."""


class Maker:
    """The reference's parties, loaded once for all goldens of a set.

    Attributes:
        dtypes: arithmetics whose floors are measured; the oracle's is not one.
    """

    def __init__(self, golden_set: GoldenSet, work: Path, progress: Progress) -> None:
        self._golden_set = golden_set
        self._work = work
        self._progress = progress
        self._checkpoint = find_checkpoint(golden_set.model)
        self._reference = reference_of(self._checkpoint, golden_set.reference)
        known = golden_set.dtypes or find_reference(self._reference).dtypes
        self.dtypes = tuple(dtype for dtype in known if dtype != ORACLE_DTYPE)

    def make(self, entries: Sequence[Entry]) -> Iterator[tuple[Golden, Contract]]:
        """Each golden, and the contract that it keeps to. Its media lie in the work folder until the next is made."""
        parties = Parties(self._checkpoint, self._reference, self._progress)
        with ThreadPoolExecutor(AT_ONCE) as pool, parties:
            parties.load(parties.oracle)
            baselines = {dtype: parties.load(parties.reference(dtype, dtype)) for dtype in self.dtypes}
            for entry in entries:
                folder = self._work / entry.name
                true = parties.oracle_run(folder, entry.scenario, entry.prompt, entry.media)
                found = {dtype: Baseline(party, true, folder / dtype) for dtype, party in baselines.items()}
                jobs = {dtype: pool.submit(baseline.runs) for dtype, baseline in found.items()}
                yield self._golden(entry, true, {dtype: job.result() for dtype, job in jobs.items()}), true.contract
                shutil.rmtree(folder)

    def _golden(self, entry: Entry, oracle: Trace, runs: Mapping[str, Runs]) -> Golden:
        require_every_step(oracle)
        floors = {
            dtype: Floors(oracle=oracle, free=run.free, lockstep=run.lockstep, executions=run.executions)
            for dtype, run in runs.items()
        }
        packed = [pack(oracle, chunk, floors) for chunk in oracle.scenario.chunks]
        choices = tuple(_choices(oracle, [run.free for run in runs.values()]))
        made = oracle.manifest
        manifest = GoldenManifest(
            name=entry.name,
            model=made.model,
            weights=made.weights,
            contract=made.contract,
            steps=self._golden_set.steps,
            reference=made.backend,
            versions=made.versions,
            dtypes=list(runs),
            prompt=entry.prompt,
            command=self._golden_set.command((entry.name,)),
            scenario=made.scenario,
            tokens=len(choices),
            chunks=[chunk for chunk, _ in packed],
        )
        arrays = {chunk.phase: kept for chunk, kept in packed}
        media = oracle.path / FOLDER
        return Golden(manifest, arrays, choices, tuple(_families(oracle, floors)), media if media.is_dir() else None)


def _choices(oracle: Trace, baselines: Iterable[Trace | None]) -> Iterator[GreedyChoice]:
    """The oracle's greedy token at every real position, its margin, and each baseline's largest error there."""
    runs = [run for run in baselines if run is not None]
    for true in choices(oracle):
        others = [logits_of(run, true.phase, oracle.contract.logits) for run in runs]
        ids, margins, noise = true.ids, true.margins, [true.noise(other) for other in others if other is not None]
        assert len(noise) == len(runs)  # the maker keeps all
        for row, token in true.places:
            yield GreedyChoice(
                phase=true.phase,
                row=row,
                token=token,
                id=int(ids[row, token]),
                margin=float(margins[row, token]),
                noise=tuple(float(one[row, token]) for one in noise),
            )


def _families(oracle: Trace, floors: Mapping[str, Floors]) -> Iterator[FamilyFloor]:
    """The largest floors of each family, in the order in which the families begin."""
    largest: dict[str, list[list[float]]] = defaultdict(list)
    for chunk in oracle.scenario.chunks:
        for step in oracle.contract.expected(chunk.holds):
            key = Key(chunk.phase, step.name)
            held = [
                held_to(floor, step, dtype)
                for run in ("lockstep", "free")
                for dtype, measured in floors.items()
                for floor in (getattr(measured, run)(key),)
            ]
            largest[family(step.name)].append(held)
    for name, rows in largest.items():
        numbers = tuple(map(max, zip(*rows, strict=True)))
        yield FamilyFloor(name, numbers[: len(floors)], numbers[len(floors) :])
