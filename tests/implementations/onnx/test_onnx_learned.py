"""Packages of others from inside: tensors are steps by their content, and faults between borders are found there.

All of it is slow: the graphs are exported first, which takes two minutes of the first run.
"""

from __future__ import annotations

import json

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from implementations.onnx import Backend
from implementations.onnx.command import export
from implementations.onnx.package.folder import DECODER, FOLDER, read_table
from parity.errors import ExitCode
from parity.judging.verdict import Status
from tests.harness import require_parity
from tests.implementations.onnx.published import anonymous, masked, write_published
from tests.implementations.onnx.test_onnx_parity import FAULTS as OF_STEPS
from tests.implementations.onnx.test_onnx_parity import made
from tests.marks import every_change

pytestmark = pytest.mark.slow

FEWEST = 1100
"""Steps of text, of 1,229, that the graph has as tensors; a value that several steps have is one of them."""


def of_another_layer(graph, folder):
    """A layer's up projection has the weights of the next."""
    one, other = (made(graph, f"text.layers.{layer}.mlp.up_proj") for layer in (8, 9))
    one.input[1] = other.input[1]


OFTEN = ("a weight scaled", "axes exchanged", "another donor", "the past behind", "a weight of another layer")
"""Of those of `test_onnx_parity` one of each kind."""
FAULTS = {**OF_STEPS, "a weight of another layer": (of_another_layer, "one-shot", "text.layers.8.mlp.up_proj")}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The embedded checkpoint's own."""
    folder = tmp_path_factory.mktemp("exported") / "package"
    assert export("tiny", folder) == 0
    return folder


@pytest.fixture(scope="module")
def table(package, tmp_path_factory):
    """What the command learns of a package of others, whose inner tensors have no telling names."""
    from implementations.onnx.command import learn

    folder = tmp_path_factory.mktemp("learned")
    other = write_published(package, folder / "published", [masked, anonymous], [])
    assert learn("tiny", other, folder / "table.json") == 0
    return folder / "table.json"


@pytest.fixture
def published(package, table, tmp_path):
    """Loads such a package with a fault in its decoder."""

    def load(plant=lambda graph, folder: None):
        changes = [lambda graph: plant(graph, package / FOLDER), masked, anonymous]
        folder = write_published(package, tmp_path / "published", changes, [])
        return Backend.load(folder, "float32", package=str(folder), steps=str(table), threads="1")

    return load


def test_the_table_says_which_tensor_is_which_step(table):
    """Its tensors have no telling names; borders, which have, are not in it."""
    told = read_table(table)[DECODER]
    assert len(told) >= FEWEST
    assert all(one.tensor.startswith("tensor.") for one in told)
    assert "text.logits" not in {one.step for one in told}
    assert set(json.loads(table.read_text())["steps"][DECODER][0]) <= {"step", "tensor", "type", "layout"}


@pytest.mark.parametrize("scenario", every_change(["chunked", "batch"], "batch"))
def test_a_right_package_is_at_parity(scenario, published, harness):
    """Of other lengths and rows than it was learned of, in chunks, behind a window and with padding."""
    judgement = harness.judge(published(), "float32", scenario)
    require_parity(judgement)
    assert len({step.step for step in judgement.steps if step.status is not Status.HIDDEN}) >= FEWEST


def place(step):
    """The layer that a step is of; a step outside of layers itself."""
    parts = step.split(".")
    return ".".join(parts[:3]) if parts[1] == "layers" else step


@pytest.mark.parametrize("fault", every_change(FAULTS, *OFTEN))
def test_a_fault_is_found_in_its_layer(fault, published, harness):
    """In a package that was right when its table was learned; nothing else is introduced in another place."""
    plant, scenario, step = FAULTS[fault]
    judgement = harness.judge(published(plant), "float32", scenario)
    assert judgement.exit_code is ExitCode.DIVERGED
    assert {place(found.step) for found in judgement.introduced} == {place(step)}
