"""Runs parties inside the test process: loaded once, so that a test costs its own forward passes and nothing else.

The command line runs each party in a worker of its own; tests/test_compare.py covers that path.
"""

from __future__ import annotations

import functools
import gc
import itertools
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import torch

from parity.backend import Backend
from parity.checkpoint import Checkpoint, find_checkpoint
from parity.errors import ExitCode
from parity.judging.baseline import Baseline, judged
from parity.judging.judgement import Judgement
from parity.judging.verdict import Status
from parity.media import Part, parse
from parity.running.cache import cache
from parity.running.cached import CachedParty
from parity.running.execute import Run, execute, measured_run
from parity.running.identity import identity
from parity.running.party import Party
from parity.running.plan import plan_of
from parity.running.progress import Silent
from parity.scenario import Scenario
from parity.traces.coverage import Missing
from parity.traces.measured import Errors
from parity.traces.runs import Runs
from parity.traces.trace import Mode, Trace
from reference.gemma3n.huggingface import Reference
from reference.tiny import path

NAME, WEIGHTS = "tiny", "weights"
"""What traces call the checkpoint, and stands for its digest."""
PROMPT = "Hello world, what do you see?"
QUESTION = "What is it?"
"""Behind pictures and sounds; tests that ask the same have the reference's runs in common."""


class Harness:
    """Oracle and baselines of one checkpoint, their traces kept for as long as the tests run."""

    def __init__(self, folder: Path, checkpoint: Path | None = None) -> None:
        torch.set_num_threads(1)  # matrices this small lose more to a second thread than they gain
        self._folder = folder
        self._numbers = itertools.count(1)
        self.checkpoint = checkpoint or path()

    @functools.cached_property
    def oracle(self) -> Reference:
        """The reference in float64."""
        return _settled(Reference.load(self.checkpoint, "float64"))

    @functools.cache  # noqa: B019 - one harness lives for the whole session
    def baseline(self, dtype: str) -> Reference:
        """The reference in a candidate's dtype."""
        return _settled(Reference.load(self.checkpoint, dtype))

    @functools.cache  # noqa: B019
    def oracle_trace(self, scenario: str, prompt: str | None = PROMPT, media: tuple[Part, ...] = ()) -> Trace:
        """The oracle's run of a scenario, which an earlier test may have left."""
        oracle = self._kept("float64", lambda: self.oracle)
        plan = plan_of(oracle, scenario, prompt, media)
        return oracle.run(self._output(), scenario=plan)

    @functools.cache  # noqa: B019
    def measured(
        self, dtype: str, scenario: str, prompt: str | None = PROMPT, media: tuple[Part, ...] = ()
    ) -> Baseline:
        """The baseline of a scenario, which runs as it is asked for."""
        return self.against(self.oracle_trace(scenario, prompt, media), dtype)

    def against(self, oracle: Trace, dtype: str, reference: Reference | None = None) -> Baseline:
        """The baseline of an oracle's trace: the embedded checkpoint's, or another reference in that arithmetic."""
        runner = self._kept(dtype, lambda: self.baseline(dtype)) if reference is None else Here(reference, dtype)
        return Baseline(runner, oracle, self._output())

    @functools.cached_property
    def _identity(self) -> dict[str, Any]:
        """As the source is when this process imports it."""
        found = identity("transformers", find_checkpoint(str(self.checkpoint)), {"OMP_NUM_THREADS": "1"})
        assert found is not None
        return found

    def _kept(self, dtype: str, load: Callable[[], Reference]) -> CachedParty:
        """What computes in this process what the tests' cache does not have."""
        how = {"name": "it", "backend": "transformers", "cache": cache(), "progress": Silent()}
        checkpoint = Checkpoint(self.checkpoint, NAME, WEIGHTS)
        party = Passing(lambda: Here(load(), dtype), **how, identity={**self._identity, "dtype": dtype, "near": True})
        return party.load(checkpoint, dtype)

    def baseline_runs(self, dtype: str, scenario: str, prompt: str | None = PROMPT) -> Runs:
        """The baseline's runs, held to every step."""
        return self.measured(dtype, scenario, prompt).runs()

    def judge(
        self,
        candidate: Backend,
        dtype: str,
        scenario: str,
        prompt: str | None = PROMPT,
        media: tuple[Part, ...] = (),
    ) -> Judgement:
        """Run a loaded candidate and judge it."""
        asked = scenario, prompt, media
        runs = self.runs(candidate, dtype, self.oracle_trace(*asked))
        return judged(oracle=self.oracle_trace(*asked), baseline=self.measured(dtype, *asked), candidate=runs)[0]

    def runs(self, backend: Backend, dtype: str, oracle: Trace) -> Runs:
        """A free and a lockstep run."""
        return Runs(*(self.trace(backend, dtype, oracle=oracle.path, mode=mode) for mode in get_args(Mode)))

    def runs_of(self, party: Party, oracle: Trace) -> Runs:
        """A free and a lockstep run of a party in a process of its own."""
        return Runs(*(passing(party.run(self._output(), oracle=oracle, mode=mode)) for mode in get_args(Mode)))

    def trace(self, backend: Backend, dtype: str, **run) -> Trace:
        """Write and read one trace."""
        return passing_trace(backend, Run(self._output(), NAME, WEIGHTS, dtype, **run))

    def _output(self) -> Path:
        return self._folder / f"trace-{next(self._numbers)}"


class Passing(CachedParty):
    """Its traces are kept for as long as something refers to them."""

    def run(self, output: Path, **how: Any) -> Trace:
        """As asked."""
        return passing(super().run(output, **how))


class Here:
    """A loaded reference of this process, as `parity.judging.baseline` runs it."""

    def __init__(self, reference: Reference, dtype: str) -> None:
        self._reference, self._dtype = reference, dtype

    def load(self, checkpoint: Checkpoint, dtype: str) -> Here:
        """It is."""
        return self

    def call(self, op: str, **asked: Any) -> Any:
        """A scenario, as a worker plans it, or the executions."""
        if op == "executions":
            return dict(zip(("names", "plain"), self.executions(), strict=True))
        assert op == "scenario"
        return self._reference.scenario(asked["name"], asked["prompt"], parse(asked["media"])).to_json()

    def executions(self) -> tuple[tuple[str, ...], bool]:
        """Names."""
        return tuple(self._reference.executions), self._reference.plain

    def run(self, output: Path, *, oracle: Trace | None = None, scenario: Any = None, **how: Any) -> Trace:
        """A trace."""
        how["scenario"] = Scenario.from_json(scenario) if scenario else None
        run = Run(output, NAME, WEIGHTS, self._dtype, oracle=oracle.path if oracle else None, **how)
        return passing_trace(self._reference, run)

    def measure(self, execution: str, *, oracle: Trace, mode: Mode, missing: Missing) -> Errors:
        """Errors alone."""
        return measured_run(
            self._reference,
            oracle=oracle,
            dtype=self._dtype,
            mode=mode,
            execution=execution,
            missing=missing,
            notify=lambda step: None,
        )


def _settled(reference: Reference) -> Reference:
    """A model that stays: looking for garbage in it and its packages costs a judgement up to a second."""
    gc.freeze()
    return reference


def passing_trace(backend: Backend, run: Run) -> Trace:
    """Write and read one trace, and keep it as long as `passing` does."""
    execute(backend, run, lambda step: None)
    return passing(Trace.read(run.output))


def passing(trace: Trace) -> Trace:
    """A trace whose files go when nothing refers to it any more: all those of the tests are 40 GB."""
    weakref.finalize(trace, shutil.rmtree, trace.path, ignore_errors=True)
    return trace


def require_parity(judgement: Judgement) -> None:
    """Every step covered, none introduced, none beyond 4 floors from exact inputs or in the free run; exit 0.

    What is coarse is as right: on a machine without an optimised BLAS MLX adds one after the other.
    """
    assert not judgement.missing
    assert judgement.first_divergence is None, judgement.first_divergence
    beyond = [step for step in judgement.steps if step.ratio > 4 and step.status is not Status.COARSE]
    assert not beyond, beyond[0]
    assert judgement.exit_code is ExitCode.PARITY
