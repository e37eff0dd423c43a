"""Candidates with weights of their own, each held to a reference that has them too."""

from __future__ import annotations

import json

import pytest

from parity.checkpoint import find_checkpoint
from parity.compare import Request, compare
from parity.cost.measuring import Prompt
from parity.running.progress import Silent
from parity.weights.stored import stored
from tests.weighted import FACTOR, OWN

ASKED = ("compare", "--reference", "tests.weighted:Read", "--scenario", "toy", "--no-diagnosis", "--json")


def judged(parity, *names):
    """Exit code, and the verdict and step of each candidate."""
    code, out, _ = parity(*ASKED, "--candidates", ",".join(f"tests.weighted:{name}" for name in names))
    found = json.loads(out)["judgements"]
    return code, [(one["candidate"].partition(":")[2], one["verdict"]) for one in found]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Quantized"], (0, [("Quantized", "parity")])),
        (["Silent"], (1, [("Silent", "diverged")])),
        (["Quantized", "Port", "Silent"], (1, [("Quantized", "parity"), ("Port", "parity"), ("Silent", "diverged")])),
    ],
)
def test_each_is_held_to_its_own(parity, names, expected):
    """In the order in which they were asked for."""
    assert judged(parity, *names) == expected


def told(*names, prompts=()):
    """What each one's numbers are said to cost."""
    costs, candidates = [], tuple(f"tests.weighted:{name}" for name in names)
    asked = {"reference": "tests.weighted:Read", "diagnose": False, "cost_prompts": prompts}
    compare(
        Request(find_checkpoint(None), candidates, "float32", ("toy",), None, **asked),
        progress=Silent(),
        told=costs.append,
    )
    return costs


def test_what_own_weights_cost_is_told_beside_the_verdict():
    """At parity with its own numbers, it is held to the original ones too; who has these costs nothing."""
    (cost,) = told("Quantized", "Port")
    factor = float(stored(find_checkpoint(None).path, str)[FACTOR].read()[0])
    own = {step.step: step.own for step in cost.steps}
    assert (cost.candidate, cost.prompts) == ("tests.weighted:Quantized", 1)
    assert own["embed"] == pytest.approx(abs(OWN / factor - 1), rel=0.05)  # a small token is held to the typical size
    assert own["logits"] < 1e-5
    assert told("Port") == []


def test_it_is_measured_over_the_prompts_that_are_given():
    """In place of the judged one."""
    (cost,) = told("Quantized", prompts=(Prompt("one", "here"), Prompt("two", "there")))
    assert cost.prompts == 2


def test_a_report_has_it(parity, tmp_path):
    """On the terminal, on the page, in the comment, and in the file from which the page is made again."""
    asked = [word for word in ASKED if word != "--json"]
    code, out, _ = parity(*asked, "--candidates", "tests.weighted:Quantized", "--report", tmp_path / "it")
    assert code == 0
    assert "cost       tests.weighted:Quantized: of 5 greedy tokens in 1 prompt" in out
    assert "What quantisation costs" in (tmp_path / "it/index.html").read_text()
    assert "**What quantisation costs**" in (tmp_path / "it/report.md").read_text()
    (tmp_path / "it/index.html").unlink()
    assert parity("report", tmp_path / "it")[0] == 0
    assert "What quantisation costs" in (tmp_path / "it/index.html").read_text()


def test_prompts_for_no_report_are_refused(parity):
    code, _, said = parity(*ASKED, "--candidates", "tests.weighted:Quantized", "--cost-draws", "4")
    assert code == 2
    assert "--cost-draws is for what a report says of quantised weights; give --report DIR" in said


def test_one_that_cannot_say_which_is_a_verdict(parity):
    """And the others are judged."""
    assert judged(parity, "Failing", "Port") == (3, [("Failing", "crashed"), ("Port", "parity")])
