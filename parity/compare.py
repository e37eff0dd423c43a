"""Compares candidates with the reference: runs every party, hands the traces to the judge."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.backend import BACKENDS, REFERENCES, find
from parity.checkpoint import Checkpoint
from parity.contract import Contract
from parity.errors import UsageError
from parity.judge import Runs, judge
from parity.party import Crash, Party
from parity.progress import Progress, Silent
from parity.trace import Mode, Trace
from parity.verdict import Comparison, Judgement

ORACLE_DTYPE = "float64"


@dataclass(frozen=True)
class Request:
    """What to compare.

    Attributes:
        candidates: backends, by installed name or ``module:Class``.
        dtype: the arithmetic of candidates and baseline.
        scenarios: names of the reference's scenarios.
        prompt: None for the lightest debugging case.
        keep: folder in which the traces stay; None for a temporary one.
    """

    checkpoint: Checkpoint
    candidates: tuple[str, ...]
    dtype: str
    scenarios: tuple[str, ...]
    prompt: str | None
    reference: str = "transformers"
    keep: Path | None = None


def compare(request: Request, *, progress: Progress) -> Comparison:
    """Run oracle, baseline and candidates in every scenario, and judge.

    Raises:
        UsageError: for a request that cannot be run.
        BackendUnavailable: when the reference itself fails; a candidate's failure is its verdict.
    """
    require_dtype(request.candidates, request.dtype)
    require_prompt(request.prompt)
    with ExitStack() as stack:
        folder = stack.enter_context(_folder(request.keep))
        session = _Session(request, folder, progress, stack)
        judgements = [judgement for name in request.scenarios for judgement in session.judgements(name)]
        return Comparison(session.contract(), session.manifest, tuple(judgements), request.prompt or "")


def require_dtype(candidates: Iterable[str], dtype: str) -> None:
    """Refuse an arithmetic before anything is started.

    Raises:
        UsageError: for an unknown backend, or one that does not have the arithmetic.
    """
    for name in candidates:
        known = find(name).dtypes
        if dtype not in known:
            raise UsageError(f"backend {name} has no dtype {dtype!r}; it has {', '.join(known)}")


def require_prompt(prompt: str | None) -> None:
    """Refuse an empty prompt before anything is started; none at all is the lightest debugging case.

    Raises:
        UsageError: for an empty one.
    """
    if prompt == "":
        raise UsageError("the prompt is empty; give some text, or no prompt at all for the lightest debugging case")


class _Session:
    """The parties of one request, loaded once and run in every scenario."""

    def __init__(self, request: Request, folder: Path, progress: Progress, stack: ExitStack) -> None:
        self.request = request
        self._folder = folder
        self._progress = progress
        self._stack = stack
        self._pool = stack.enter_context(ThreadPoolExecutor())
        self._crashes: dict[str, str] = {}
        self._oracle = self._party("oracle", request.reference, REFERENCES)
        self._baseline = self._party("baseline", request.reference, REFERENCES)
        self._candidates = [self._party(name, name, BACKENDS) for name in request.candidates]
        self._load()

    def judgements(self, scenario: str) -> Iterator[Judgement]:
        """Run one scenario with every party and judge each candidate."""
        folder = self._folder / scenario
        oracle = self._run_oracle(scenario, folder / "oracle")
        jobs = [self._pool.submit(self._runs, party, folder, oracle) for party in (self._baseline, *self._candidates)]
        baseline, *candidates = (job.result() for job in jobs)
        if baseline is None:
            raise Crash(self._crashes[self._baseline.name])
        for party, runs in zip(self._candidates, candidates, strict=True):
            yield self._judge(scenario, oracle, baseline, party, runs)

    def contract(self) -> Contract:
        """The contract that all scenarios share."""
        return self._last.contract

    @property
    def manifest(self) -> Any:
        """The oracle's manifest."""
        return self._last.manifest

    def _party(self, name: str, backend: str, group: str) -> Party:
        return self._stack.enter_context(Party(name, backend, group=group, progress=self._progress))

    def _load(self) -> None:
        path, dtype = self.request.checkpoint.path, self.request.dtype
        jobs = [self._pool.submit(self._oracle.load, path, ORACLE_DTYPE)]
        jobs += [self._pool.submit(party.load, path, dtype) for party in (self._baseline, *self._candidates)]
        for party, job in zip((self._oracle, self._baseline, *self._candidates), jobs, strict=True):
            self._guarded(party, job.result)

    def _guarded(self, party: Party, action: Callable[[], Any]) -> Any:
        """A candidate's crash is remembered as its verdict; the reference's ends the comparison."""
        try:
            return action()
        except Crash as crash:
            if party not in self._candidates:
                raise
            self._crashes[party.name] = str(crash)
            return None

    def _run_oracle(self, scenario: str, output: Path) -> Trace:
        plan = self._oracle.call("scenario", name=scenario, prompt=self.request.prompt)
        run_party(self._oracle, self.request.checkpoint, ORACLE_DTYPE, output, scenario=plan, progress=self._progress)
        self._last = Trace.read(output)
        return self._last

    def _runs(self, party: Party, folder: Path, oracle: Trace) -> Runs | None:
        if party.name in self._crashes:
            return None
        return self._guarded(party, lambda: Runs(*(self._run(party, folder, oracle, mode) for mode in MODES)))

    def _run(self, party: Party, folder: Path, oracle: Trace, mode: Mode) -> Trace:
        output = folder / f"{party.name.replace('/', '_')}.{mode}"
        run_party(
            party, self.request.checkpoint, self.request.dtype, output, oracle=oracle, mode=mode, progress=self._progress
        )
        return Trace.read(output)

    def _judge(self, scenario: str, oracle: Trace, baseline: Runs, party: Party, runs: Runs | None) -> Judgement:
        if runs is None:
            return _crashed(party.name, self.request.dtype, scenario, self._crashes[party.name])
        return judge(oracle=oracle, baseline=baseline, candidate=runs)


MODES: tuple[Mode, Mode] = ("free", "lockstep")


def run_party(
    party: Party,
    checkpoint: Checkpoint,
    dtype: str,
    output: Path,
    *,
    progress: Progress,
    oracle: Trace | None = None,
    scenario: dict[str, Any] | None = None,
    mode: Mode = "free",
    keep_tensors: bool = True,
) -> None:
    """Have a loaded party run one scenario and write its trace."""
    progress.start(party.name, len(oracle.records) if oracle else 0, f"{mode} run")
    party.call(
        "run",
        output=str(output),
        model=checkpoint.name,
        weights=checkpoint.weights,
        dtype=dtype,
        mode=mode,
        oracle=str(oracle.path) if oracle else None,
        scenario=scenario,
        keep_tensors=keep_tensors,
        command=sys.argv[1:],
    )
    progress.done(party.name)


def write_trace(
    *,
    checkpoint: Checkpoint,
    backend: str,
    dtype: str,
    scenario: str,
    prompt: str | None,
    output: Path,
    oracle: Path | None,
    keep_tensors: bool,
    progress: Progress,
    reference: str = "transformers",
) -> Path:
    """Write one trace: the oracle's (``backend="oracle"``), or a lockstep run against an oracle's trace, or a free run.

    Without an oracle's trace the scenario and the contract are the reference's, so it must be installed.
    """
    if backend == "oracle":
        with _loaded("oracle", reference, REFERENCES, checkpoint, ORACLE_DTYPE, progress) as party:
            plan = party.call("scenario", name=scenario, prompt=prompt)
            run_party(party, checkpoint, ORACLE_DTYPE, output, scenario=plan, keep_tensors=keep_tensors, progress=progress)
        return output
    group = REFERENCES if backend == reference else BACKENDS
    with ExitStack() as stack:
        mode: Mode = "lockstep" if oracle else "free"
        true = Trace.read(oracle) if oracle else _scenario_only(stack, locals())
        party = stack.enter_context(_loaded(backend, backend, group, checkpoint, dtype, progress))
        run_party(party, checkpoint, dtype, output, oracle=true, mode=mode, keep_tensors=keep_tensors, progress=progress)
    return output


def _scenario_only(stack: ExitStack, arguments: dict[str, Any]) -> Trace:
    """An oracle's trace without tensors, which gives contract and tokens to a free run."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parity-")))
    names = ("checkpoint", "dtype", "scenario", "prompt", "progress", "reference")
    given = {name: arguments[name] for name in names}
    return Trace.read(write_trace(**given, backend="oracle", output=folder / "oracle", oracle=None, keep_tensors=False))


def contract_of(checkpoint: Checkpoint, reference: str = "transformers") -> Contract:
    """The contract of a checkpoint, from the reference."""
    with _loaded(reference, reference, REFERENCES, checkpoint, "float32", Silent()) as party:
        return Contract.from_json(party.call("contract"))


def generate(*, checkpoint: Checkpoint, backend: str, dtype: str, prompt: str, max_tokens: int) -> Iterator[str]:
    """Text that a backend writes after a prompt, piece by piece."""
    require_dtype([backend], dtype)
    with _loaded(backend, backend, BACKENDS, checkpoint, dtype, Silent()) as party:
        yield from party.stream("generate", prompt=prompt, max_tokens=max_tokens)


@contextmanager
def _loaded(
    name: str, backend: str, group: str, checkpoint: Checkpoint, dtype: str, progress: Progress
) -> Iterator[Party]:
    with Party(name, backend, group=group, progress=progress) as party:
        party.load(checkpoint.path, dtype)
        yield party


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Where traces go: the user's folder, or a temporary one that is gone afterwards."""
    if keep is not None:
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        yield Path(folder)


def _crashed(candidate: str, dtype: str, scenario: str, message: str) -> Judgement:
    return Judgement(candidate, dtype, scenario, steps=(), tokens=(), allowed=0.0, crash=message)
