"""What the tests of the command line stand on: one width, an engine that notes what it is asked, traces of a toy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import parity.compare  # before the tests stand in for what they import by name: they would keep the stand-in
import parity.running.single  # noqa: F401
from parity.checkpoint import Checkpoint
from parity.errors import UsageError
from tests import report_samples as samples
from tests.toy import Port, Toy, runs, write

CHECKPOINT = Checkpoint(Path("/nowhere"), "tiny", "weights")


@pytest.fixture(autouse=True)
def steady(monkeypatch):
    """One width and no colour."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(
        "parity.checkpoint.find_checkpoint", lambda spec, adapter=None: replace(CHECKPOINT, name=spec or "tiny")
    )
    monkeypatch.setattr("parity.running.plan.require_admitted", lambda *given: None)
    monkeypatch.setattr("parity.discovery.reference_of", lambda checkpoint, spec=None: spec or "transformers")
    monkeypatch.setattr("parity.learning.subject.reference_by_learning", lambda checkpoint, spec=None: None)


@pytest.fixture
def engine(monkeypatch):
    """Stands in for the engine: notes requests, and answers with `engine.answer` or what it raises."""

    class Engine:
        requests = []  # noqa: RUF012 - of one test
        answer = staticmethod(samples.parity)

    engine = Engine()
    engine.requests = []

    def compare(request, *, progress, look=None, told=None):
        unknown(request.candidates, [request.dtype])
        engine.requests.append(request)
        engine.look, engine.told = look, told
        comparison = engine.answer()
        judgements = tuple(replace(judgement, dtype=request.dtype) for judgement in comparison.judgements)
        return replace(comparison, judgements=judgements)

    def unknown(names, dtypes):
        if wrong := [dtype for dtype in dtypes if dtype not in ("float32", "bfloat16")]:
            raise UsageError(f"no dtype {wrong[0]!r}")

    monkeypatch.setattr("parity.compare.compare", compare)
    monkeypatch.setattr("parity.running.plan.require_dtypes", unknown)
    for refusal in ("parity.running.plan.require_prompt", "parity.discovery.require"):
        monkeypatch.setattr(refusal, lambda given: None)
    return engine


@pytest.fixture
def traces(tmp_path):
    """Traces of a toy: the oracle, the baseline, a good candidate and one with a fault."""
    oracle = write(tmp_path, "oracle", Toy())
    runs(tmp_path, "baseline", Toy("float32"), oracle)
    runs(tmp_path, "good", Port("float32"), oracle)
    runs(tmp_path, "bad", Port("float32", {"embed": lambda x: x * np.float32(1.001)}), oracle)
    return tmp_path
