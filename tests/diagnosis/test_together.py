"""What known bugs would cause is run once: for all candidates, of many bugs at once, and again for another coverage."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from parity.contract import Contract, Step
from parity.diagnosis import together
from parity.diagnosis.evidence import missing_in
from parity.diagnosis.matched import missing_before
from parity.diagnosis.together import Remembered, batches
from parity.site import Edit
from parity.traces.trace import Key
from parity.variant import Variant
from tests import toy


def bug(name, first, function="f"):
    return Variant(name, "toy", name, first, (Edit(f"toy:{function}", "x", "y"),))


ONE, OTHER, SAME = bug("one", "text.a.x"), bug("other", "text.b.x", "g"), bug("same", "text.c.x")


@dataclasses.dataclass(frozen=True, eq=False)
class Told:
    """As much of an oracle's trace as is asked for."""

    path: Path = Path("oracle")
    records: dict = dataclasses.field(default_factory=dict)


class Plants:
    """Remembers its runs; each bug makes its own number of steps."""

    def __init__(self):
        self.runs = []

    def __call__(self, variants, oracle, keys, missing=frozenset()):
        self.runs.append((tuple(variant.name for variant in variants), len(keys), missing))
        return {key: np.full(3, len(missing)) for key in keys}


def wanted(*variants, phase="prefill"):
    return {variant: [Key(phase, variant.first)] for variant in variants}


def test_nothing_is_run_twice():
    plants = Plants()
    remembered, oracle = Remembered(plants), Told()
    for _ in range(2):
        assert [variant for variant, _ in remembered.effects(wanted(ONE, OTHER), oracle)] == [ONE, OTHER]
    assert plants.runs == [(("one", "other"), 2, frozenset())]
    assert Remembered.of(remembered) is remembered
    list(remembered.effects(wanted(ONE, phase="decode.1"), oracle))
    assert remembered.runs == 2


def test_another_coverage_is_another_run():
    plants = Plants()
    remembered = Remembered(plants)
    for missing in (frozenset(), frozenset({"text.z"}), frozenset({"text.z"})):
        ((_, tensors),) = remembered.effects(wanted(ONE), Told(), missing)
        assert tensors[Key("prefill", ONE.first)].max() == len(missing)
    assert [run[-1] for run in plants.runs] == [frozenset(), frozenset({"text.z"})]


def test_runs_have_a_budget():
    """One line of one function is in one run at a time."""
    remembered = Remembered(Plants())
    assert len(batches([ONE, OTHER, SAME])) == 2
    assert [variant for variant, _ in remembered.effects(wanted(ONE, OTHER, SAME), Told(), most=1)] == [ONE, OTHER]
    assert remembered.runs == 1


def test_the_oldest_is_forgotten_where_there_is_too_much(monkeypatch):
    monkeypatch.setattr(together, "MEMORY", 0)
    monkeypatch.setattr(together, "_bytes", lambda oracle, key: 1)
    plants = Plants()
    remembered = Remembered(plants)
    for variant in (ONE, SAME, SAME, ONE):
        assert [known for known, _ in remembered.effects(wanted(variant), Told())] == [variant]
    assert [run[0] for run in plants.runs] == [("one",), ("same",), ("one",)]


def test_a_bug_of_a_missing_step_runs_alone():
    assert batches([ONE, OTHER], missing={ONE.first}) == [[OTHER], [ONE]]


def test_a_run_is_of_one_part_of_the_model():
    assert len(batches([ONE, bug("picture", "vision.a.x", "h")])) == 2


STEPS = tuple(Step(f"s{number}", ("batch",), "float", "", "") for number in range(70))


@pytest.mark.parametrize(
    ("missing", "found"),
    [((), []), (("s66", "s67"), ["s67", "s66"]), (("s67", "s60"), ["s67", "s60"]), (("s69", "s1"), [])],
)
def test_a_step_shows_the_missing_ones_before_it(missing, found):
    """The nearest first, none behind it, and none too far before."""
    assert missing_before("s68", Contract("m", STEPS, "s69"), frozenset(missing)) == found


def test_what_a_run_lacks_is_missing(tmp_path):
    """Its values were not replaced there."""
    oracle = toy.write(tmp_path, "oracle", toy.Toy())
    deaf = toy.write(tmp_path, "deaf", toy.Deaf("float32"), "float32", oracle=oracle.path, mode="lockstep")
    assert missing_in(oracle, deaf) == {"layers.0.mean"}
    assert missing_in(oracle, oracle) == frozenset()
