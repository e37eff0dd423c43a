"""A known bug has one place in the catalogue, and is looked for wherever the reference computes the same."""

from __future__ import annotations

import dataclasses

import pytest

from parity.contract import Contract, Step
from parity.errors import UsageError
from parity.placing import behind, placed, require
from parity.site import Edit
from parity.variant import Variant

NORM, SUM = "Norm.forward: x", "Block.forward: out"
CONTRACT = Contract(
    "toy",
    tuple(
        Step(name, ("token", "hidden"), "float", "", source)
        for name, source in (
            ("stem.bn", NORM), ("blocks.0.bn", NORM), ("blocks.0.bn.act", "Act.forward"), ("blocks.0.out", SUM),
            ("blocks.1.bn", NORM), ("blocks.1.out", SUM), ("logits", "Model.forward: logits"),
        )
    ),
    "logits",
)  # fmt: skip
EDIT = Edit("toy:forward", "x", "y")
ANY = Variant("norm", "toy", "a norm", "{place}", (EDIT,), "model.{place}", "blocks.1.bn")
BLOCK = Variant("sum", "toy", "a sum", "blocks.{place}.out", (EDIT,), "model.blocks.{place}", "1")
ONE = Variant("logits", "toy", "the logits", "logits", (EDIT,))


@pytest.mark.parametrize(
    ("variant", "steps"),
    [(ANY, ["stem.bn", "blocks.0.bn", "blocks.1.bn"]), (BLOCK, ["blocks.0.out", "blocks.1.out"]), (ONE, ["logits"])],
)
def test_it_is_placed_where_the_same_lines_run(variant, steps):
    """Whatever the module is called; never at a step of another kind."""
    found = {step.name: here for step in CONTRACT if (here := placed(variant, step.name, CONTRACT))}
    assert list(found) == steps
    assert [here.first for here in found.values()] == steps
    assert placed(BLOCK, "blocks.0.out", CONTRACT).module == "model.blocks.0"


def test_a_model_without_its_own_place_has_others():
    less = dataclasses.replace(CONTRACT, steps=tuple(step for step in CONTRACT if "blocks.1" not in step.name))
    assert placed(BLOCK, "blocks.0.out", less).place == "0"


@pytest.mark.parametrize("step", ["blocks..out", "blocks.out", "blocks.7.out", "out", "", "xblocks.0.out"])
def test_what_is_no_place_is_none(step):
    assert placed(BLOCK, step, CONTRACT) is None


@pytest.mark.parametrize(
    ("variant", "step", "first"),
    [
        (BLOCK, "blocks.0.bn.act", "blocks.0.out"),
        (ANY, "blocks.0.bn.act", "blocks.0.bn"),
        (ANY, "blocks.0.out", None),
        (BLOCK, "stem.bn", None),
        (ONE, "stem.bn", "logits"),
    ],
)
def test_the_place_that_another_step_is_of(variant, step, first):
    """A bug that was found may show at later steps of its module."""
    here = behind(variant, step, CONTRACT)
    assert (here and here.first) == first


def test_a_place_of_ones_choice():
    assert require(ANY, "stem.bn", CONTRACT).module == "model.stem.bn"
    assert require(ANY, "", CONTRACT).first == "blocks.1.bn"
    for variant, place, said in (
        (ANY, "blocks.0.out", "blocks.0.out is computed by other lines"),
        (BLOCK, "7", "the model has no step blocks.7.out"),
        (ONE, "0", "can be in one place alone"),
    ):
        with pytest.raises(UsageError, match=said):
            require(variant, place, CONTRACT)
