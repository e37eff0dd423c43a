"""Integers of another number: how they differ is told, and the known bug that makes just these is named."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from parity.diagnosis.diagnose import diagnose
from parity.diagnosis.matched import Filter
from parity.diagnosis.sequences import difference
from parity.judging.judge import judge
from parity.report import causes
from parity.site import Edit
from parity.traces.runs import Runs
from parity.variant import Catalogue, Variant
from tests import toy


def row(*ids):
    return np.array([ids])


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (row(2, 2, 5, 6, 7), "1 value more at token 0 (2)"),
        (row(2, 6, 7), "1 value less at token 1 (5)"),
        (row(2, 5, 9, 7), "9 instead of 6 at token 2"),
        (row(2, 5, 6, 7, 1, 1, 1, 1, 1, 1), "6 values more at token 4 (1, 1, 1, 1, ...)"),
        (row(2, 5, 6, 7), ""),
        (row(), "4 values less at token 0 (2, 5, 6, 7)"),
    ],
)
def test_how_they_differ(made, said):
    assert difference(true=row(2, 5, 6, 7), made=made.astype(int)) == said


def test_rows_are_told_and_there_is_an_end():
    true = np.arange(40).reshape(2, 20)
    said = difference(true=true, made=np.delete(true, [1, 4, 7, 10], 1))
    assert said.count("value less") == 3
    assert said.endswith("and 5 more")
    assert difference(true=true, made=np.stack([true[0], true[1][::-1]])).count("of row 1") == 2


def twice(ids):
    """What a tokenizer and a template make together."""
    return np.concatenate([ids[:, :1], ids], 1)


@pytest.fixture
def longer(tmp_path):
    """The oracle's run, and the verdict on a candidate whose ids begin twice."""
    oracle = toy.write(tmp_path, "oracle", toy.Toy())
    base = toy.runs(tmp_path, "baseline", toy.Toy("float32"), oracle)
    wrong = toy.runs(tmp_path, "wrong", toy.Toy("float32", {"ids": twice}), oracle)
    return oracle, wrong, judge(oracle=oracle, baseline=base, candidate=Runs(None, wrong.lockstep))


BUG = Variant("twice", "toy", "two begin tokens", "ids", (Edit("toy:f", "x", "y"),), source="here 1")
KNOWN = Catalogue((dataclasses.replace(BUG, name="thrice"), BUG, dataclasses.replace(BUG, name="also")), "", "", "toy")


def planted(variants, oracle, keys, missing):
    """Two of the bugs make the same."""
    (variant,) = variants
    ids = {key: twice(oracle.tensor(key)) for key in keys}
    return {key: twice(value) if variant.name == "thrice" else value for key, value in ids.items()}


def test_the_bug_that_makes_just_these_is_named(longer):
    oracle, wrong, judgement = longer
    said = diagnose(judgement, oracle=oracle, lockstep=wrong.lockstep, variants=Filter(KNOWN, planted))[0]
    assert (said.step, said.where) == ("ids", "1 value more at token 0 (1)")
    assert (said.causes[0].name, said.causes[0].alike) == ("twice", ("also",))
    assert "behaves as twice: two begin tokens" in causes.cause(said)


def test_without_known_bugs_the_difference_is_told(longer):
    oracle, wrong, judgement = longer
    said = diagnose(judgement, oracle=oracle, lockstep=wrong.lockstep, variants=None)[0]
    assert (said.causes, said.nearest) == ((), ())
    assert "the error is 1 value more at token 0" in causes.evidence(said)
