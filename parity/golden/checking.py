"""Judging a candidate against a set of goldens; neither the reference nor its framework is needed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from parity.checkpoint import Checkpoint, find_checkpoint
from parity.contract import Contract
from parity.discovery import require, require_dtype
from parity.errors import CannotWrite, ParityError, StaleTrace
from parity.golden.format import Golden, read_golden
from parity.golden.judging import judge_golden, require_floors
from parity.golden.sets import Entry, GoldenSet
from parity.golden.stage import staged
from parity.golden.store import Store
from parity.golden.whole import require_undamaged
from parity.judging.judge import ALLOWED
from parity.judging.judgement import Comparison, Judgement
from parity.media import digest
from parity.running.party import Crash, Party
from parity.running.progress import Progress
from parity.scratch import scratch
from parity.traces.trace import Trace

T = TypeVar("T")


@dataclass(frozen=True)
class Fresh:
    """Goldens that may be judged against.

    Attributes:
        goldens: in the order of the set.
        contract: that they all keep to.
        checkpoint: that they were made from.
    """

    goldens: tuple[Golden, ...]
    contract: Contract
    checkpoint: Checkpoint


def check(
    golden_set: GoldenSet, backend: str, dtype: str, *, only: tuple[str, ...] = (), progress: Progress
) -> Comparison:
    """Run a backend in the scenario of every golden (or of those named), and judge it.

    Raises:
        StaleTrace: when a golden is missing, unused, or of other weights, another contract or format.
        UsageError: for an unknown backend, arithmetic or golden.
    """
    require(backend)
    fresh = require_fresh(golden_set, only)
    for golden in fresh.goldens:
        require_floors(golden, dtype)
    with scratch() as folder:
        judged = _Session(fresh, backend, dtype, folder, progress).judgements()
        oracle = judged[0][0].manifest
        return Comparison(fresh.contract, oracle, tuple(judgement for _, judgement in judged))


def require_fresh(golden_set: GoldenSet, only: tuple[str, ...] = ()) -> Fresh:
    """The goldens of the set, or those named, if they are all there and of this checkpoint and contract.

    Raises:
        StaleTrace: saying which are not, why, and the command that renews them.
        UsageError: for one that is damaged.
    """
    store, entries = Store(golden_set.folder), golden_set.select(only)
    _require_present(golden_set, store.names(), only)
    checkpoint, contract = find_checkpoint(golden_set.model), store.contract()
    goldens, reasons = [], {}
    for entry in entries:
        try:
            golden = read_golden(store.folder / entry.name)
        except StaleTrace as error:
            reasons[entry.name] = str(error).partition(": ")[2]
            continue
        if reason := _reason(golden, entry, checkpoint, contract) or _steps_reason(golden, golden_set):
            reasons[entry.name] = reason
            continue
        require_undamaged(golden, contract, entry.name)
        goldens.append(golden)
    if reasons:
        raise _stale(golden_set, list(reasons), f"stale, {'; '.join(dict.fromkeys(reasons.values()))}")
    return Fresh(tuple(goldens), contract, checkpoint)


def _require_present(golden_set: GoldenSet, present: Collection[str], only: tuple[str, ...]) -> None:
    known = [entry.name for entry in golden_set.entries]
    if missing := [name for name in only or known if name not in present]:
        raise _stale(golden_set, missing, "missing")
    if not only and (unused := [name for name in present if name not in known]):
        raise StaleTrace(f"{_list(unused)} unused, no scenario has that name; remove: {golden_set.command()}")


def _reason(golden: Golden, entry: Entry, checkpoint: Checkpoint, contract: Contract) -> str:
    """Why a golden must not be judged against, or nothing."""
    made = golden.manifest
    if made.weights != checkpoint.weights:
        return f"made from other weights ({made.weights[:12]}, the checkpoint has {checkpoint.weights[:12]})"
    if made.contract != contract.digest:
        return f"made with another contract ({made.contract}, the set has {contract.digest})"
    if (made.prompt, made.scenario["name"]) != (entry.prompt, entry.scenario):
        return "made from another prompt or scenario"
    kept = {path.stem for path in golden.media.iterdir()} if golden.media else set()
    if not _files(entry) <= kept:
        return "made from another picture or sound"
    return ""


def _files(entry: Entry) -> set[str]:
    """Digests of an entry's pictures and sounds, as far as they are here: a golden keeps copies of its own."""
    paths = (Path(part.value) for part in entry.media if part.kind != "text")
    return {digest(path) for path in paths if path.is_file()}


def _steps_reason(golden: Golden, golden_set: GoldenSet) -> str:
    same = golden.manifest.steps == golden_set.steps
    return "" if same else f"made with another contract (steps {golden.manifest.steps}, now {golden_set.steps})"


def _stale(golden_set: GoldenSet, names: list[str], why: str) -> StaleTrace:
    every = len(names) == len(golden_set.entries)
    return StaleTrace(f"{_list(names)} {why}; renew: {golden_set.command(() if every else tuple(names))}")


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"golden {shown} is" if len(names) == 1 else f"goldens {shown} are"


class _Session:
    """One candidate, loaded once, in the scenarios of all goldens: while it runs one, the last is judged."""

    def __init__(self, fresh: Fresh, backend: str, dtype: str, folder: Path, progress: Progress) -> None:
        self._fresh = fresh
        self._backend = backend
        self._dtype = dtype
        self._folder = folder
        self._progress = progress
        self._crash = ""

    def judgements(self) -> list[tuple[Trace, Judgement]]:
        """The judgement by every golden, in order, with the golden as a trace."""
        with Party(self._backend, self._backend, progress=self._progress) as party, ThreadPoolExecutor(1) as pool:
            self._load(party)
            runs = [self._run(party, golden, pool) for golden in self._fresh.goldens]
            return [(oracle, job.result()) for oracle, job in runs]

    def _load(self, party: Party) -> None:
        """Import and load it; an arithmetic that it lacks is no verdict but the user's mistake."""
        try:
            require_dtype(party.backend, party.dtypes, self._dtype)
        except Crash as crash:
            self._crash = str(crash)
        self._guarded(lambda: party.load(self._fresh.checkpoint, self._dtype))

    def _run(self, party: Party, golden: Golden, pool: Executor) -> tuple[Trace, Future[Judgement]]:
        folder = self._folder / golden.manifest.name
        oracle = staged(golden, self._fresh.contract, folder / "golden")
        run = self._guarded(lambda: party.run(folder / "candidate", oracle=oracle))
        return oracle, pool.submit(self._judge, golden, oracle, run, self._crash)

    def _guarded(self, action: Callable[[], T]) -> T | None:
        """What `action` gives; nothing from where the candidate failed, which is its verdict."""
        if self._crash:
            return None
        try:
            return action()
        except CannotWrite:
            raise
        except ParityError as error:
            self._crash = str(error) if isinstance(error, Crash) else f"{self._backend} failed: {error}"
            return None

    def _judge(self, golden: Golden, oracle: Trace, run: Trace | None, crash: str) -> Judgement:
        if run is None:
            name = golden.manifest.name
            return Judgement.of_crash(crash, candidate=self._backend, dtype=self._dtype, scenario=name, allowed=ALLOWED)
        judgement = judge_golden(golden, oracle=oracle, candidate=run, name=self._backend)
        shutil.rmtree(run.path)
        return judgement
