"""Runs parties inside the test process: loaded once, so that a test costs its own forward passes and nothing else.

The command line runs each party in a worker of its own; tests/test_compare.py covers that path.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from parity.backend import Backend
from parity.errors import ExitCode
from parity.execute import Run, execute
from parity.judge import Runs, judge
from parity.trace import Trace
from parity.verdict import Judgement
from reference.huggingface import Reference
from reference.tiny import path

PROMPT = "Hello world, what do you see?"


class Harness:
    """Oracle and baselines of one checkpoint, their traces kept for as long as the tests run."""

    def __init__(self, folder: Path, checkpoint: Path | None = None) -> None:
        torch.set_num_threads(1)  # matrices this small lose more to a second thread than they gain
        self._folder = folder
        self._count = 0
        self.checkpoint = checkpoint or path()

    @functools.cached_property
    def oracle(self) -> Reference:
        """The reference in float64."""
        return Reference.load(self.checkpoint, "float64")

    @functools.cache  # noqa: B019 - one harness lives for the whole session
    def baseline(self, dtype: str) -> Reference:
        """The reference in a candidate's dtype."""
        return Reference.load(self.checkpoint, dtype)

    @functools.cache  # noqa: B019
    def oracle_trace(self, scenario: str, prompt: str | None = PROMPT) -> Trace:
        """The oracle's run of a scenario."""
        return self.trace(self.oracle, "float64", scenario=self.oracle.scenario(scenario, prompt))

    @functools.cache  # noqa: B019
    def baseline_runs(self, dtype: str, scenario: str, prompt: str | None = PROMPT) -> Runs:
        """The baseline's free and lockstep runs."""
        return self.runs(self.baseline(dtype), dtype, self.oracle_trace(scenario, prompt))

    def judge(self, candidate: Backend, dtype: str, scenario: str, prompt: str | None = PROMPT) -> Judgement:
        """Run a loaded candidate and judge it."""
        oracle = self.oracle_trace(scenario, prompt)
        runs = self.runs(candidate, dtype, oracle)
        return judge(oracle=oracle, baseline=self.baseline_runs(dtype, scenario, prompt), candidate=runs)

    def runs(self, backend: Backend, dtype: str, oracle: Trace) -> Runs:
        """A free and a lockstep run."""
        modes = ({"mode": "free"}, {"mode": "lockstep"})
        return Runs(*(self.trace(backend, dtype, oracle=oracle.path, **mode) for mode in modes))

    def trace(self, backend: Backend, dtype: str, **run) -> Trace:
        """Write and read one trace."""
        self._count += 1
        output = self._folder / f"trace-{self._count}"
        execute(backend, Run(output, "tiny", "weights", dtype, **run), lambda step: None)
        return Trace.read(output)


def require_parity(judgement: Judgement) -> None:
    """Every step covered, none introduced, none beyond 4 floors from exact inputs or in the free run; exit 0."""
    assert not judgement.missing
    assert judgement.first_divergence is None, judgement.first_divergence
    assert judgement.worst.ratio <= 4
    assert judgement.exit_code is ExitCode.PARITY
