"""Runs a survey: architectures in processes side by side, each with a time limit, each result written as it comes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Lock

from parity.discovery import (
    BACKENDS,
    REFERENCES,
    find,
    find_reference,
    is_learnable,
    require,
    require_dtype,
    with_table,
)
from parity.errors import UsageError
from parity.learning.taps import ANY
from parity.running.cache import FOLDER
from parity.running.party import Party
from parity.running.progress import Progress
from parity.scratch import scratch
from parity.survey.examining import Examination, examine
from parity.survey.result import Surveyed, SurveyHead, SurveyResults

PART = "survey"


@dataclass(frozen=True)
class SurveyRequest:
    """What to survey.

    Attributes:
        by: the two sides, and the arithmetics.
        workers: architectures that are examined at the same time.
        limit: seconds that each may take.
    """

    by: Examination
    workers: int
    limit: float

    def head(self) -> SurveyHead:
        """What the results are of.

        Raises:
            UsageError: for a candidate that is not for any model, or does not have an arithmetic.
        """
        require(self.by.candidate)
        if not is_learnable(self.by.candidate):
            raise UsageError(f"{self.by.candidate} is not for any model: it has no architectures to survey")
        sides = [find(with_table(name, ANY), group) for name, group in self._sides]
        for dtype in self.by.dtypes:
            require_dtype(self.by.candidate, sides[1].dtypes, dtype)
        versions = {name: number for side in sides for name, number in side.versions().items()}
        return SurveyHead(
            reference=self.by.reference,
            candidate=self.by.candidate,
            versions=versions,
            dtypes=self.by.dtypes,
            limit=self.limit,
        )

    @property
    def _sides(self) -> tuple[tuple[str, str], tuple[str, str]]:
        return (self.by.reference, REFERENCES), (self.by.candidate, BACKENDS)

    def meanings(self) -> Mapping[str, str]:
        """Of the reference's scenarios, by their names."""
        return find_reference(with_table(self.by.reference, ANY)).scenarios

    def models(self, progress: Progress) -> list[str]:
        """The types of model that both sides have.

        Raises:
            UsageError: where there are none, or a side does not say.
        """
        both: list[set[str]] = []
        for name, group in self._sides:
            with Party(name, with_table(name, ANY), group=group, progress=progress) as party:
                both.append(set(party.call("architectures")))
        found = sorted(set.intersection(*both))
        if not found:
            raise UsageError(f"{self.by.reference} and {self.by.candidate} have no type of model in common")
        return found


def survey(request: SurveyRequest, models: Sequence[str], results: SurveyResults, progress: Progress) -> None:
    """Examine every architecture of those that has no result yet."""
    left = [name for name in models if name not in results.by_model]
    desk = _Desk(left, results, progress)
    examiners = [_Examiner(request) for _ in left[: request.workers]]
    with ThreadPoolExecutor(request.workers) as threads:
        jobs = [threads.submit(_work, examiner, desk) for examiner in examiners]
        try:
            for job in jobs:
                job.result()
        finally:
            desk.close()
            for examiner in examiners:
                examiner.close()


class _Desk:
    """Where workers take what is left to do, and hand in what was found."""

    def __init__(self, left: Sequence[str], results: SurveyResults, progress: Progress) -> None:
        self._lock, self._left, self._results, self._progress = Lock(), deque(left), results, progress
        self._closed = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        with self._lock:
            if not self._left:
                raise StopIteration
            self._progress.start(PART, 0, f"{self._left[0]}, {len(self._left) - 1} left")
            return self._left.popleft()

    def hand_in(self, result: Surveyed) -> None:
        with self._lock:
            if not self._closed:  # else it was ended in the middle of its work
                self._results.add([result])

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._left.clear()


def _work(examiner: _Examiner, desk: _Desk) -> None:
    """Examine one architecture after the other."""
    for model in desk:
        desk.hand_in(examiner.examined(model))


class _Examiner:
    """A process that examines, or a new one where that ended; its parties have their own, and end with it."""

    def __init__(self, request: SurveyRequest) -> None:
        self._request = request
        self._process: BaseProcess | None = None

    def examined(self, model: str) -> Surveyed:
        """What it found; or that it took too long, or ended."""
        began = time.monotonic()
        if self._process is None:
            self._begin()
        self._pipe.send(model)
        failure = f"no result after {self._request.limit:g} s"
        try:
            if self._pipe.poll(self._request.limit):
                return Surveyed.model_validate_json(self._pipe.recv())
        except (EOFError, OSError):
            failure = "the process that examined it ended"
        self.close()
        return Surveyed(model=model, stage="examine", failure=failure, seconds=round(time.monotonic() - began, 1))

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._request.by), daemon=True)
        self._process.start()
        theirs.close()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()
            self._pipe.close()


def _serve(pipe: Connection, by: Examination) -> None:
    """Examine what is asked for, until nobody is there to ask. An interrupt is the parent's to handle.

    What the oracle computed for one arithmetic is kept for the next, and goes with the process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with scratch() as folder, suppress(EOFError, OSError):
        os.environ[FOLDER] = str(folder)
        while True:
            pipe.send(examine(pipe.recv(), by).model_dump_json())
