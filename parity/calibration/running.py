"""Runs a calibration: stretches of draws in processes side by side, each judgement written down as it comes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread

from parity.calibration.result import Head, Result, Results
from parity.calibration.session import Session, Sitting
from parity.calibration.settings import Environment, Setting, Stretch, setting_of, settings, stretches
from parity.checkpoint import Checkpoint
from parity.discovery import find, find_reference
from parity.errors import UsageError
from parity.judging.judge import ALLOWED
from parity.running.plan import require_floor
from parity.running.progress import Progress
from parity.scratch import scratch

PART = "calibration"
SHORTEST, LONGEST = 3, 20
"""Draws of a stretch. Loading a dozen parties costs as much as four draws: shorter stretches would do nothing else, and
after longer ones a calibration that was cut short has hardly seen some settings."""


@dataclass(frozen=True)
class CalibrationRequest:
    """What to calibrate with.

    Attributes:
        candidates: backends that are right, by name and options.
        dtypes: arithmetics; each candidate runs in those that it has.
        judgements: how many at least.
        workers: draws that run at the same time.
    """

    checkpoint: Checkpoint
    candidates: tuple[str, ...]
    dtypes: tuple[str, ...]
    judgements: int
    seed: int
    workers: int
    reference: str

    def environments(self) -> tuple[Environment, ...]:
        """The machine as it is, and what else it can be."""
        return Environment.all_of(find_reference(self.reference).environments())

    def settings(self) -> tuple[Setting, ...]:
        """The settings that draws have, in turn."""
        return settings(self.dtypes, self.environments())

    def head(self) -> Head:
        """What the results are of."""
        return Head(
            seed=self.seed,
            reference=self.reference,
            model=self.checkpoint.name,
            weights=self.checkpoint.weights,
            candidates=self.candidates,
            dtypes=self.dtypes,
            environments=tuple(environment.name for environment in self.environments()),
            allowed=ALLOWED,
        )

    def sitting(self, setting: Setting, folder: Path) -> Sitting:
        """What a session of that setting judges."""
        return Sitting(
            checkpoint=self.checkpoint,
            reference=self.reference,
            candidates=self.candidates,
            seed=self.seed,
            setting=setting,
            folder=folder,
        )


def require_known(request: CalibrationRequest, draw: int | None = None) -> None:
    """Refuse what cannot be, before anything is started; of a single draw its own arithmetic alone must be there.

    Raises:
        UsageError: for an unknown backend, or an arithmetic that no candidate has.
    """
    known = [find(candidate).dtypes for candidate in request.candidates]
    for dtype in request.dtypes if draw is None else [setting_of(draw, request.settings()).dtype]:
        require_floor(dtype)
        if not any(dtype in dtypes for dtypes in known):
            raise UsageError(f"none of {', '.join(request.candidates)} has the dtype {dtype!r}")


def single(request: CalibrationRequest, number: int) -> Iterator[Result]:
    """The judgements of one draw, in this process."""
    setting = setting_of(number, request.settings())
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        session = stack.enter_context(closing(Session(request.sitting(setting, folder))))
        yield from session.results(number)


def calibrate(request: CalibrationRequest, results: Results, progress: Progress) -> None:
    """Judge until there are as many results as asked for, beginning where the file of results ends."""
    among = request.settings()
    each = 1 + request.judgements // (len(among) * 2 * len(request.candidates))
    length = min(max(SHORTEST, each), LONGEST)
    ledger = _Ledger(request.judgements, results, progress)
    left = stretches(among, length, results.draws)
    with scratch() as folder, ThreadPoolExecutor() as threads:
        jobs = [threads.submit(_work, request, folder, left, ledger) for _ in range(request.workers)]
        try:
            for job in jobs:
                job.result()
        finally:
            ledger.close()  # after an interrupt, which only this thread hears of, the others would judge on to the end


class _Ledger:
    """Where all workers write, and read whether there is enough."""

    def __init__(self, wanted: int, results: Results, progress: Progress) -> None:
        self.lock = Lock()
        self._wanted, self._results, self._progress = wanted, results, progress
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether no more is to be done."""
        return self._closed or len(self._results.judged) >= self._wanted

    def add(self, found: Sequence[Result]) -> None:
        with self.lock:
            self._results.add(found)
            self._progress.start(PART, 0, f"{len(self._results.judged):,} of {self._wanted:,} judgements")

    def close(self) -> None:
        """No further draw is begun; those at hand are still written down."""
        self._closed = True


def _work(request: CalibrationRequest, folder: Path, left: Iterator[Stretch], ledger: _Ledger) -> None:
    """One worker: a process that holds a session, and is told which draws to judge.

    A process and no thread, for half of a judgement is Python's own work, which threads would do one after the other.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_begin) as process:
        try:
            while not ledger.full:
                with ledger.lock:
                    stretch = next(left)
                sitting = request.sitting(stretch.setting, folder)
                for number in stretch.draws:
                    if not ledger.full:
                        ledger.add(process.submit(_draw, sitting, number).result())
        except BaseException:
            ledger.close()
            raise


_HELD: dict[Sitting, Session] = {}
"""The session of this process, if it is a worker. Its parties end with it: they wait for jobs from it alone."""


def _begin() -> None:
    """An interrupt is the parent's to handle: it ends this process when its draw is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed says nothing: this process would wait for a draw for ever, and hold a dozen parties."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _draw(sitting: Sitting, number: int) -> list[Result]:
    if sitting not in _HELD:
        while _HELD:
            _HELD.popitem()[1].close()
        _HELD[sitting] = Session(sitting)
    return list(_HELD[sitting].results(number))
