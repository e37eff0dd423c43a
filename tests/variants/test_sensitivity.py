"""The smallest fault that is seen: just above it a step is flagged, just below it is not, and reports say so."""

from __future__ import annotations

import dataclasses
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from parity.judging.floors import Floors
from parity.judging.judge import ALLOWED, Judge, judge
from parity.judging.verdict import Status
from parity.report import sentences
from parity.report.sensitivity import print_sensitivity, sensitivity_json
from parity.traces.runs import Runs
from parity.traces.trace import Key
from parity.variants.sensitivity import Planted, Sensitivity, Smallest, sensitivities, smallest
from tests import toy
from tests.near import bring_near

FLOAT = ("embed", "layers.0.mean", "logits")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The toy's oracle and baseline."""
    folder = tmp_path_factory.mktemp("sensitivity")
    oracle = toy.write(folder, "oracle", toy.Toy())
    return oracle, toy.runs(folder, "baseline", toy.Toy("float32"), oracle)


@pytest.fixture(scope="module")
def found(runs):
    """Its smallest faults by step and phase."""
    oracle, baseline = runs
    return {one.key: one for one in sensitivities(oracle=oracle, baseline=baseline)}


def judge_of(runs, key):
    """The judge, and the fault that it is shown."""
    oracle, baseline = runs
    step = toy.CONTRACT.get(key.step)
    fault = Planted(key, step, oracle=oracle, lockstep=baseline.lockstep)
    floors = Floors(oracle=oracle, free=baseline.free, lockstep=baseline.lockstep)
    candidate = Runs(None, baseline.lockstep)
    return step, fault, Judge(oracle=oracle, candidate=candidate, floors=floors, allowed=ALLOWED, measure=fault)


@settings(max_examples=40)
@given(
    key=st.builds(Key, st.sampled_from(["prefill", "decode.1"]), st.sampled_from(FLOAT), st.just(0)),
    above=st.floats(1.0, 1e6),
    below=st.floats(0.0, 0.98),
)
def test_from_that_size_on_a_fault_is_flagged(key, above, below, runs, found):
    step, fault, judging = judge_of(runs, key)
    fault.size = above * found[key].size
    assert judging.from_exact_inputs(key, step).ratio > ALLOWED
    fault.size = below * found[key].size
    assert judging.from_exact_inputs(key, step).ratio <= ALLOWED


@pytest.mark.parametrize(("times", "status"), [(2.0, Status.INTRODUCED), (0.3, Status.OK)])
def test_a_candidate_with_such_a_fault_is_judged_so(times, status, runs, found, tmp_path):
    """The whole way: a model that errs by that much. Float32's own rounding of the sum is part of it."""
    oracle, baseline = runs
    size = times * found[Key("prefill", "logits")].size
    noise = np.random.default_rng(1).normal(size=(1, 4, toy.VOCABULARY))
    wrong = {"logits": lambda x: (x * (1 + size * noise[:, : x.shape[1]])).astype(x.dtype)}
    candidate = toy.runs(tmp_path, "wrong", toy.Toy("float32", wrong), oracle)
    judgement = judge(oracle=oracle, baseline=baseline, candidate=candidate)
    assert {step.status for step in judgement.steps if step.step == "logits"} == {status}


def test_a_coarser_floor_hides_more(runs, found):
    """Twice as many floors, twice the fault; what is exact shows a single element."""
    oracle, baseline = runs
    twice = {one.key: one for one in sensitivities(oracle=oracle, baseline=baseline, allowed=2 * ALLOWED)}
    for key, one in found.items():
        if key.step == "ids":
            assert one.size == twice[key].size == 0.0
        else:
            assert twice[key].size == pytest.approx(2 * one.size, rel=0.15)


def test_no_fault_is_seen_where_the_judge_sees_none(runs):
    """The search ends all the same."""
    key = Key("prefill", "logits")
    step, fault, judging = judge_of(runs, key)
    assert smallest(key, step, judging, fault, allowed=1e30).size == math.inf
    fault.size, fault._fault = 0.0, fault._fault * 0
    assert smallest(key, step, judging, fault).size == math.inf


def test_a_report_says_what_an_ok_hides(runs, found, tmp_path):
    """As much as is measured: within a quarter, for the rounding of the step itself takes part of what is allowed."""
    oracle, baseline = runs
    candidate = toy.runs(tmp_path, "right", toy.Toy("float32"), oracle)
    judgement = judge(oracle=oracle, baseline=baseline, candidate=candidate)
    for step in judgement.steps:
        key = Key(step.phase, step.step)
        assert step.hides(ALLOWED) == pytest.approx(found[key].size, rel=0.25)
    logits = judgement.steps[3]
    assert sentences.hides(logits, ALLOWED) == f"no fault larger than {logits.hides(ALLOWED):.1e} of the step's size"
    assert not sentences.hides(dataclasses.replace(logits, status=Status.INTRODUCED), ALLOWED)
    assert not sentences.hides(judgement.steps[0], ALLOWED)
    most = max(step.hides(ALLOWED) for step in judgement.steps)
    assert f"{most:.1e} in any" in sentences.hides_at_most(judgement)


def printed(sensitivity, steps, width, *, folded=True):
    """The table as a terminal of that width shows it."""
    out = Console(width=width, file=io.StringIO())
    print_sensitivity(sensitivity, steps, out, folded=folded)
    return out.file.getvalue()


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_says_the_worst_of_all_layers(width):
    """Over layers and phases, for an ok holds in the worst; integers, and steps that did not run, are told apart."""
    rows = (
        Smallest(Key("prefill", "ids"), 0.0, 0.0),
        Smallest(Key("prefill", "layers.0.mean"), 3e-7, 1e-7),
        Smallest(Key("decode.1", "layers.1.mean"), 9e-7, 1e-7),
        Smallest(Key("prefill", "logits"), math.inf, 1e-7),
    )
    sensitivity = Sensitivity(toy.CONTRACT, "float32", rows)
    steps = ("ids", "embed", "layers.0.mean", "layers.1.mean", "logits")
    lines = printed(sensitivity, steps, width).splitlines()
    assert max(map(len, lines)) <= width
    assert [line.split() for line in lines[2:6]] == [
        ["ids", "any", "-", "prefill"],
        ["layers.{0-1}.mean", "9.0e-07", "9.0", "decode.1"],
        ["logits", "none", "infinite", "prefill"],
        ["1", "step", "did", "not", "run:", "give", "--image,", "--audio"],
    ]
    assert "layers.0.mean" in printed(sensitivity, steps, width, folded=False)
    data = json.loads(json.dumps(sensitivity_json(sensitivity, steps)))
    assert [row["smallest"] for row in data["steps"]] == [0.0, 3e-7, 9e-7, None]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """A terminal of one width."""
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dtype", "float64"], "float64 is the oracle's arithmetic, where there is no floor"),
        (["--dtype", "float31"], "backend transformers has no dtype 'float31'"),
        (["--scenario", "shot"], "unknown scenario 'shot'"),
        (["--prompt", ""], "the prompt is empty"),
        (["--image", "nowhere.png"], "nowhere.png"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(arguments, said, parity, monkeypatch):
    monkeypatch.setattr("parity.running.parties.Party", None)
    code, out, error = parity("steps", "--sensitivity", *arguments)
    assert (code, out) == (2, "")
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_the_steps_of_the_model(parity, harness, monkeypatch):
    """Every step of the text model, each within some floors: finer than the smallest error of any known bug."""
    bring_near(harness, monkeypatch)
    arguments = ("--sensitivity", "--prompt", "Hello world", "--json", "--grep", "text.layers.")
    code, out, error = parity("steps", *arguments)
    assert code == 0, error
    rows = json.loads(out)["steps"]
    assert len({row["step"] for row in rows}) > 1000
    assert all(2 * row["floor"] <= row["smallest"] <= 6 * row["floor"] for row in rows)
