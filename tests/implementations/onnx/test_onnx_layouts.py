"""Steps inside packages of others: their table, and tensors whose axes are in another order than the contract's."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx import TensorProto, helper

from implementations.onnx.layouts import in_layouts, layouts_of
from implementations.onnx.package.folder import DECODER, EMBEDDER, FOLDER, Package, graph_file, read_table, write_table
from implementations.onnx.package.graph import Tapped
from parity.errors import UsageError
from parity.learning.layout import Rearrangement
from parity.tap import AS_IT_IS, SILENT, ScopedTap
from reference.tiny import path

HEADS = "batch token (head head_dim) -> batch head token head_dim"
SIZES = {"head": 2, "head_dim": 3, "batch": 1, "token": 4}
LAYOUTS = {"turned": Rearrangement.parse(HEADS)}
TENSOR = np.arange(24.0).reshape(1, 4, 6)
STEP = TENSOR.reshape(1, 4, 2, 3).transpose(0, 2, 1, 3)


def test_a_step_is_told_in_its_own_axes_and_goes_on_in_the_tensors():
    told = {}

    def hear(name, value):
        told[name] = value
        return value * 2

    tap = in_layouts(ScopedTap(hear), LAYOUTS, SIZES)
    np.testing.assert_array_equal(tap("turned", TENSOR), TENSOR * 2)
    np.testing.assert_array_equal(told["turned"], STEP)
    np.testing.assert_array_equal(tap("plain", TENSOR), TENSOR * 2)
    np.testing.assert_array_equal(told["plain"], TENSOR)


def test_what_is_not_answered_is_the_same_tensor():
    """By which a graph knows that its own value goes on."""
    assert in_layouts(ScopedTap(lambda name, value: value), LAYOUTS, SIZES)("turned", TENSOR) is TENSOR


def test_an_answer_that_is_known_ahead_is_in_the_tensors_axes():
    known = {"turned": STEP, "plain": STEP}
    tap = in_layouts(ScopedTap(lambda name, value: value, ahead=known.__getitem__), LAYOUTS, SIZES)
    np.testing.assert_array_equal(tap.ahead("turned"), TENSOR)
    assert tap.ahead("plain") is STEP
    assert in_layouts(SILENT.into("free"), LAYOUTS, SIZES).ahead("turned") == AS_IT_IS


def test_a_tensor_that_is_not_so_is_told_as_it_is():
    """Its shape is then seen to be none of the step's."""
    other = np.zeros((1, 4, 7))
    assert in_layouts(ScopedTap(lambda name, value: value), LAYOUTS, SIZES)("turned", other) is other


@pytest.fixture
def package(tmp_path):
    """A package of others: an embedder and a decoder, whose inner tensor is a step in other axes."""
    (tmp_path / FOLDER).mkdir()
    shutil.copy(path() / "config.json", tmp_path)
    for name in (EMBEDDER, DECODER):
        nodes = [helper.make_node("Abs", ["inputs_embeds"], ["t1"]), helper.make_node("Abs", ["t1"], ["logits"])]
        ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, None) for end in ("inputs_embeds", "logits")]
        graph = helper.make_graph(nodes, "toy", ends[:1], ends[1:])
        graph_file(tmp_path / FOLDER, name).write_bytes(helper.make_model(graph).SerializeToString())
    return tmp_path


def test_a_table_adds_to_the_borders(package, tmp_path):
    """What is known by its name at a border stays so, whatever the table says."""
    file, one = tmp_path / "table.json", Tapped("text.layers.0.attn.q_norm", "t1", "float32", HEADS)
    write_table(file, {EMBEDDER: (), DECODER: (one, Tapped("text.logits", "t2", "float32"))})
    assert read_table(file)[DECODER][0] == one
    assert "layout" not in json.loads(file.read_text())["steps"][DECODER][1]
    read = Package.read(package, table=file)
    assert [step.step for step in read.steps[DECODER]] == ["text.inputs_embeds", "text.logits", one.step]
    assert layouts_of(read) == {one.step: Rearrangement.parse(HEADS)}
    assert not read.marked
    assert read.graph(DECODER).graph.node[0].output == ["t1"]


def test_a_table_that_cannot_be(package, tmp_path):
    file = tmp_path / "table.json"
    write_table(file, {EMBEDDER: (), DECODER: (Tapped("a", "nowhere", "float32"),)})
    with pytest.raises(UsageError, match=r"step 'a': the graph has no tensor 'nowhere'"):
        Package.read(package, table=file).graph(DECODER)
    write_table(file, {EMBEDDER: (), DECODER: (Tapped("a", "t1", "float32", "a b -> c"),)})
    with pytest.raises(UsageError, match=r"table.json cannot be read \(.*step 'a': layout 'a b -> c'"):
        Package.read(package, table=file)
    shutil.copy(file, package / FOLDER / "steps.json")
    with pytest.raises(UsageError, match=r"has a steps.json of its own; leave steps=.*table.json out"):
        Package.read(package, table=file)


@pytest.mark.parametrize(
    ("file", "marked", "said"),
    [
        ("table.json", True, "has a steps.json of its own, which says its steps"),
        ("nowhere/table.json", False, "or has no folder; name a new file"),
        ("config.json", False, "config.json is there already, and may have been corrected"),
        ("table.json", False, "embed_tokens.onnx takes no input_ids; is it of the model"),
    ],
)
def test_what_is_not_learned(file, marked, said, package, parity):
    """One line, and no file is there that was not."""
    pytest.importorskip("onnxruntime")
    if marked:
        write_table(package / FOLDER / "steps.json", {EMBEDDER: (), DECODER: ()})
    before = {*package.rglob("*")}
    code, _, err = parity("onnx", "learn", "tiny", package, package / file)
    assert code == 2
    assert said in err
    assert {*package.rglob("*")} == before
