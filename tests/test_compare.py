"""Comparing in worker processes, on the toy model: verdicts, crashes and what is left behind."""

from __future__ import annotations

import json

import pytest

from parity.checkpoint import Checkpoint
from parity.compare import Request, compare
from parity.diagnosis.naming import Namer
from parity.errors import ExitCode, UsageError
from parity.judging.judge import judge
from parity.judging.verdict import Status
from parity.report.gather import Gatherer
from parity.report.json import dumps, read_comparison
from parity.report.sentences import verdict
from parity.running.progress import Silent
from parity.running.single import write_trace
from parity.traces.runs import Runs
from parity.traces.trace import Trace

TOY = "tests.toy:Toy"


@pytest.fixture
def checkpoint(tmp_path):
    """The toy reads nothing."""
    return Checkpoint(tmp_path, "toy", "weights")


class Listening(Silent):
    """Remembers what it was told."""

    def __init__(self):
        self.started = []
        self.steps = []

    def start(self, party, total, what):
        """Note who does what."""
        self.started.append((party, what))

    def step(self, party, name):
        """Note a step."""
        self.steps.append((party, name))


def request(checkpoint, *candidates, **fields):
    """A request with the toy as its reference."""
    return Request(checkpoint, candidates, "float32", ("toy",), None, reference=TOY, **fields)


def test_parity_and_progress(checkpoint):
    """A good candidate: exit 0; every party is heard of, with its steps."""
    progress = Listening()
    comparison = compare(request(checkpoint, TOY), progress=progress)
    assert comparison.exit_code is ExitCode.PARITY
    assert {("oracle", "free run"), ("baseline", "lockstep run"), (TOY, "free run")} <= set(progress.started)
    assert (TOY, "logits") in progress.steps


def test_traces_can_be_looked_at_before_they_are_gone(checkpoint):
    """Details for a report are taken of traces in a temporary folder."""
    gatherer = Gatherer()
    comparison = compare(request(checkpoint, TOY), progress=Silent(), look=gatherer.look)
    details = gatherer.report(comparison).details
    assert details
    assert all(detail.columns for detail in details)
    assert details[0].channels is not None


def test_missing_step(checkpoint):
    """A candidate that leaves a step out is incomplete, by name."""
    comparison = compare(request(checkpoint, "tests.toy:Deaf"), progress=Silent())
    assert comparison.exit_code is ExitCode.INCOMPLETE
    assert {step.step for step in comparison.judgements[0].missing} == {"layers.0.mean"}


FAILING = {
    "Killed": "crashed at layers.0.mean: killed, most likely for want of memory",
    "Throwing": "crashed at layers.0.mean: RuntimeError: kernel launch failed",
    "Leaving": "crashed at layers.0.mean: exit code 7: fatal: device lost",
    "Talking": "crashed at layers.0.mean: exit code 7: aaa",
    "Unloadable": "failed: architecture 'other'",
    "Objects": "failed: step embed: a tensor of dtype object cannot be measured; convert it",
    "Words": "failed: step embed: a tensor of dtype str",
    "Complex": "failed: step embed: a tensor of dtype complex128 cannot be measured",
}
"""What ends in its worker, one way or another; what it refuses or gives that is no tensor: said with the step."""


def test_a_failure_is_the_candidates_verdict(checkpoint):
    """In one line, of one who wrote megabytes too; the one who failed in nothing is judged beside all of them."""
    names = [f"tests.toy:{name}" for name in FAILING]
    *failed, good = compare(request(checkpoint, *names, TOY), progress=Silent()).judgements
    for name, said, judgement in zip(names, FAILING.values(), failed, strict=True):
        assert judgement.crash.startswith(f"{name} {said}")
        assert verdict(judgement).startswith(said)
        assert "\n" not in judgement.crash
        assert len(judgement.crash) <= 500
        assert judgement.exit_code is ExitCode.UNAVAILABLE
    assert good.exit_code is ExitCode.PARITY


def test_a_crash_shows_its_traceback_where_it_is_asked_for(checkpoint, monkeypatch, capsys):
    """PARITY_DEBUG=1 shows the lines of the port that threw; without it, the verdict is one line."""
    for wanted in ("0", "1"):
        monkeypatch.setenv("PARITY_DEBUG", wanted)
        compare(request(checkpoint, "tests.toy:Throwing", TOY), progress=Silent())
        shown = capsys.readouterr().err
        assert ("Traceback (most recent call last)" in shown and "tests/toy.py" in shown) == (wanted == "1")


def test_a_failing_search_for_causes_costs_the_causes_alone(checkpoint, monkeypatch, tmp_path):
    """The verdict stands and says so, also in a report that is read again; PARITY_DEBUG=1 lets the error through."""

    def failing(*_, **__):
        raise ZeroDivisionError("two clips of unequal length")

    monkeypatch.setattr(Namer, "may_name", lambda judgement: True)
    monkeypatch.setattr(Namer, "named", failing)
    comparison = compare(request(checkpoint, TOY), progress=Silent())
    assert comparison.exit_code is ExitCode.PARITY
    file = tmp_path / "report.json"
    file.write_text(dumps(comparison))
    said = verdict(read_comparison(file).judgements[0])
    assert said.startswith("parity. 8 of 8 steps covered")
    assert said.endswith(
        "; the search for causes ended in an internal error, ZeroDivisionError: two clips of unequal length; "
        "PARITY_DEBUG=1 shows where"
    )
    monkeypatch.setenv("PARITY_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        compare(request(checkpoint, TOY), progress=Silent())


@pytest.mark.parametrize(
    ("candidate", "dtype", "said"),
    [
        ("nope", "float32", "unknown backend 'nope'"),
        ("tests.toy:Nope", "float32", "cannot be imported"),
        ("json:JSONDecoder", "float32", "is not a subclass"),
        (TOY, "float8", "has no dtype 'float8'; it has float64, float32, float16"),
    ],
)
def test_unknown_backend_or_dtype(checkpoint, candidate, dtype, said):
    """Said before anything starts."""
    with pytest.raises(UsageError, match=said):
        compare(Request(checkpoint, (candidate,), dtype, ("toy",), None, reference=TOY), progress=Silent())


def test_traces_are_kept_on_request(checkpoint, tmp_path):
    """--keep leaves every party's traces, and they judge to the same verdict."""
    compare(request(checkpoint, TOY, keep=tmp_path / "kept"), progress=Silent())
    names = sorted(path.name for path in (tmp_path / "kept" / "toy").iterdir())
    assert names == ["baseline.free", "baseline.lockstep", "oracle", f"{TOY}.free", f"{TOY}.lockstep"]
    read = {name: Trace.read(tmp_path / "kept" / "toy" / name) for name in names}
    candidate = Runs(read[f"{TOY}.free"], read[f"{TOY}.lockstep"])
    judgement = judge(oracle=read["oracle"], baseline=None, candidate=candidate)
    assert Status.OK in judgement.counts


def test_trace_of_each_party(checkpoint, tmp_path):
    """The oracle's trace, a free run and a lockstep run against it."""
    common = {"checkpoint": checkpoint, "scenario": "toy", "prompt": None, "progress": Silent(), "reference": TOY}
    oracle = write_trace(
        **common, backend="oracle", dtype="float64", output=tmp_path / "o", oracle=None, keep_tensors=True
    )
    for name, given in (("free", None), ("lockstep", oracle)):
        path = write_trace(
            **common, backend=TOY, dtype="float32", output=tmp_path / name, oracle=given, keep_tensors=True
        )
        manifest = json.loads((path / "manifest.json").read_text())
        assert (manifest["mode"], manifest["dtype"]) == (name, "float32")
