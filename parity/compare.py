"""Compares candidates with the reference: runs every party, hands the traces to the judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from parity.checkpoint import OVERLAY, Checkpoint, with_overlay
from parity.contract import Contract
from parity.cost.measuring import CostRequest, Prompt, measured
from parity.cost.result import Cost
from parity.diagnosis.naming import Knowledge, Namer
from parity.discovery import Choice, reference_of, require_dtype
from parity.errors import CannotWrite, ParityError, cut, debugging
from parity.judging.baseline import Baseline, judged
from parity.judging.judgement import Comparison, Judgement
from parity.media import Part
from parity.names import file_name, require_name
from parity.running.cache import cache
from parity.running.parties import Parties
from parity.running.party import Crash, Party, both
from parity.running.plan import cores, owners, require_admitted, require_prompt
from parity.running.progress import Progress
from parity.scratch import scratch
from parity.traces.runs import Runs
from parity.traces.trace import Manifest, Trace

DIAGNOSIS = "diagnosis"

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What to compare.

    Attributes:
        candidates: backends, by installed name or ``module:Class``.
        dtype: the arithmetic of candidates and baseline.
        scenarios: names of the reference's scenarios.
        prompt: None for the lightest debugging case.
        media: pictures and sounds that go before it.
        reference: the backend that is true; None for the installed one of the checkpoint's type of model.
        keep: folder in which the traces stay; None for a temporary one.
        diagnose: whether the cause of each introduced step is looked for.
        strict: whether a coarse step counts as a divergence.
        timeout: seconds without a word after which a party counts as stuck; None for the usual.
        remember: whether what the reference computed before is taken from the user's cache, and what is new kept there.
        cost_prompts: over which it is measured what a candidate's own weights cost; none for the one that is judged.
    """

    checkpoint: Checkpoint
    candidates: tuple[str, ...]
    dtype: str
    scenarios: tuple[str, ...]
    prompt: str | None
    media: tuple[Part, ...] = ()
    reference: str | None = None
    keep: Path | None = None
    diagnose: bool = True
    strict: bool = False
    timeout: float | None = None
    remember: bool = False
    cost_prompts: tuple[Prompt, ...] = ()


class Onlooker(Protocol):
    """Sees each judgement with the traces that it rests on, before those may be removed."""

    def __call__(self, judgement: Judgement, *, oracle: Trace, baseline: Runs | None, candidate: Runs) -> None:
        """Take what is needed of the traces."""


Told = Callable[[Cost], None]
"""Told what the numbers of a candidate that has weights of its own cost, against the checkpoint's."""


def compare(
    request: Request, *, progress: Progress, look: Onlooker | None = None, told: Told | None = None
) -> Comparison:
    """Run oracle, baseline and candidates in every scenario, and judge; where costs are `told`, measure them besides.

    Raises:
        UsageError: for a request that cannot be run.
        BackendUnavailable: when the reference itself fails; a candidate's failure is its verdict.
    """
    require_prompt(request.prompt)
    require_admitted(request.checkpoint, request.reference, request.prompt, request.media)
    with ExitStack() as stack:
        folder = stack.enter_context(_folder(request.keep))
        first, *others = _apart(request)
        parts = [_compared(first, folder, progress, look, told)]
        for part in others:  # each has an oracle of its own, and so a folder
            parts.append(_compared(part, folder / file_name(part.candidates[0]), progress, look, told))
    found = [judgement for part in parts for judgement in part.judgements]
    order = [Choice.parse(name).shown for name in request.candidates]
    found.sort(key=lambda one: (request.scenarios.index(one.scenario), order.index(one.candidate)))
    return replace(parts[0], judgements=tuple(found))


def _compared(
    request: Request, folder: Path, progress: Progress, look: Onlooker | None, told: Told | None
) -> Comparison:
    """Candidates that compute with the same weights."""
    with ExitStack() as stack:
        session = _Session(request, folder, progress, stack, look)
        judgements = [judgement for name in request.scenarios for judgement in session.judgements(name)]
        if told is not None and (cost := session.cost()) is not None:
            told(cost)
        return Comparison(session.contract(), session.manifest, tuple(judgements), request.prompt or "")


def _apart(request: Request) -> list[Request]:
    """A request for the candidates that have the checkpoint's weights, and one for each that has its own."""
    if len(request.candidates) == 1:
        return [request]
    own = owners(request.candidates)
    shared = tuple(name for name in request.candidates if name not in own)
    return [replace(request, candidates=names) for names in (shared, *((name,) for name in own)) if names]


class _Session:
    """The parties of one request, loaded once and run in every scenario."""

    def __init__(
        self, request: Request, folder: Path, progress: Progress, stack: ExitStack, look: Onlooker | None
    ) -> None:
        self.request = request
        self._folder = folder
        self._progress = progress
        self._look = look
        self._pool = stack.enter_context(ThreadPoolExecutor(cores()))
        self._crashes: dict[str, str] = {}
        self._namers: dict[str, Namer] = {}
        self._stack = stack
        self._held_to_own = False
        self._reference = reference = reference_of(request.checkpoint, request.reference)
        self._parties = stack.enter_context(
            Parties(
                request.checkpoint,
                reference,
                progress,
                timeout=request.timeout,
                kept=cache() if request.remember else None,
            )
        )
        self._candidates = [self._parties.candidate(name, request.dtype) for name in request.candidates]
        if len(self._candidates) == 1:  # who has weights of its own is alone
            self._hold_to(self._candidates[0])
        self._oracle, self._baseline = self._parties.oracle, self._parties.reference("baseline", request.dtype)
        self._known = Knowledge.of(reference, oracle=self._oracle, baseline=self._baseline)
        self._load()

    def judgements(self, scenario: str) -> Iterator[Judgement]:
        """Run one scenario with every party and judge each candidate."""
        folder = self._folder / require_name("a scenario", scenario)
        self._known.forget()
        oracle = self._last = self._parties.oracle_run(folder, scenario, self.request.prompt, self.request.media)
        baseline = Baseline(self._baseline, oracle, folder)
        begun = self._pool.submit(baseline.begin)
        jobs = [self._pool.submit(self._runs, party, folder, oracle) for party in self._candidates]
        begun.result()
        for party, job in zip(self._candidates, jobs, strict=True):
            yield self._judge(oracle, baseline, party, job.result())

    def cost(self) -> Cost | None:
        """What a candidate's own weights cost against the checkpoint's, in the first scenario; None where it has none.

        A candidate that fails at it has no cost, and keeps its verdicts.
        """
        (party, *_), request = self._candidates, self.request
        if not self._held_to_own or party.name in self._crashes:
            return None
        prompts = request.cost_prompts or (Prompt(request.prompt, "the prompt", request.media),)
        names = {"candidate": party.name, "dtype": request.dtype, "scenario": request.scenarios[0]}
        asked = CostRequest(request.checkpoint, self._reference, prompts=prompts, **names)
        kept = cache() if request.remember and not request.cost_prompts else None
        with Parties(
            request.checkpoint, self._reference, self._progress, timeout=request.timeout, kept=kept
        ) as original:
            original.load(original.oracle)
            return self._guarded(party, lambda: measured(asked, original.oracle, party, self._progress))

    def contract(self) -> Contract:
        """The contract that all scenarios share."""
        return self._last.contract

    @property
    def manifest(self) -> Manifest:
        """The oracle's manifest."""
        return self._last.manifest

    def _load(self) -> None:
        request = self.request
        wake = not self._parties.know(request.scenarios, request.prompt, request.media)
        jobs = {party: self._pool.submit(self._load_party, party, wake=wake) for party in self._parties}
        for party in (*self._candidates, *jobs):  # what a user asked of one is refused while the reference still loads
            jobs[party].result()

    def _hold_to(self, party: Party) -> None:
        """Give the reference the weights that a candidate computes with, where these are not the checkpoint's."""
        try:
            if not party.has_weights:
                return
        except Crash as crash:
            self._crashes[party.name] = str(crash)
            return
        require_dtype(party.backend, party.dtypes, self.request.dtype)
        file = self._stack.enter_context(scratch()) / OVERLAY
        self._guarded(party, lambda: party.write_weights(self.request.checkpoint, file))
        if party.name not in self._crashes:
            self._parties.hold_to(with_overlay(self.request.checkpoint, file))
            self._held_to_own = True

    def _load_party(self, party: Party, *, wake: bool) -> None:
        """Import and load one; what is no backend, or lacks the dtype, is no verdict but the user's mistake."""
        if party.name in self._crashes:
            return
        if party in self._candidates:
            try:
                require_dtype(party.backend, party.dtypes, self.request.dtype)
            except Crash as crash:
                self._crashes[party.name] = str(crash)
                return
        self._guarded(party, lambda: self._parties.load(party, wake=wake))

    def _guarded(self, party: Party, action: Callable[[], T]) -> T | None:
        """A candidate's failure is remembered as its verdict; the reference's, or a full disk, ends the comparison."""
        try:
            return action()
        except ParityError as error:
            if party not in self._candidates or isinstance(error, CannotWrite):
                raise
            self._crashes[party.name] = str(error) if isinstance(error, Crash) else f"{party.name} failed: {error}"
            return None

    def _runs(self, party: Party, folder: Path, oracle: Trace) -> Runs | None:
        if party.name in self._crashes:
            return None
        output = folder / file_name(party.name)
        return self._guarded(party, lambda: both(party, output, oracle))

    def _judge(self, oracle: Trace, baseline: Baseline, party: Party, runs: Runs | None) -> Judgement:
        if runs is None:
            crash, scenario = self._crashes[party.name], oracle.scenario.name
            return Judgement.of_crash(crash, candidate=party.name, dtype=self.request.dtype, scenario=scenario)
        judgement, held_to = judged(oracle=oracle, baseline=baseline, candidate=runs, name=party.name)
        judgement = replace(judgement, strict=self.request.strict)
        if self.request.diagnose:
            judgement = self._diagnosed(judgement, oracle, held_to, runs)
        if self._look is not None:
            self._look(judgement, oracle=oracle, baseline=held_to, candidate=runs)
        return judgement

    def _diagnosed(self, judgement: Judgement, oracle: Trace, baseline: Runs, runs: Runs) -> Judgement:
        """The judgement with its causes; known bugs are planted in the oracle's party, which is idle now."""
        if not Namer.may_name(judgement):
            return judgement
        name = judgement.candidate
        if name not in self._namers:
            self._namers[name] = self._known.namer(self._progress)
        self._progress.start(DIAGNOSIS, 0, name)
        try:
            return self._namers[name].named(judgement, oracle=oracle, baseline=baseline, candidate=runs)
        except ParityError:  # the reference ended, or there is no room
            raise
        except Exception as error:  # a fault of the search itself costs the causes, not the verdict
            if debugging():
                raise
            return replace(judgement, unsearched=cut(f"{type(error).__name__}: {error}"))
        finally:
            self._progress.done(DIAGNOSIS)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Where traces go: the user's folder, or a temporary one that is gone afterwards."""
    if keep is not None:
        yield keep
        return
    with scratch() as folder:
        yield folder
