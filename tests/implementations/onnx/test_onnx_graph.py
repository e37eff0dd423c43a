"""What is made of a graph: steps that are tensors, seen from outside, answered and scaled; values decide."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx import TensorProto, helper, numpy_helper

from implementations.onnx.options import Options
from implementations.onnx.package.graph import Tapped, exposed, settle
from implementations.onnx.session import Graph
from parity.errors import BackendUnavailable, UsageError
from parity.tap import AS_IT_IS, ScopedTap

X = np.array([[1.0, -2.0, 3.0]], np.float32)
OPTIONS = Options(threads=1)


def tap(step, read, given):
    return helper.make_node("Tap", [read], [given], domain="parity", step=step, type="float32")


def marked():
    """``twice = 2 x``, ``relu``, ``out = relu + twice``: three steps; what is doubled is also read past its mark."""
    nodes = [
        tap("x", "input", "x"),
        helper.make_node("Mul", ["x", "two"], ["doubled"]),
        tap("twice", "doubled", "twice.marked"),
        helper.make_node("Relu", ["twice.marked"], ["rectified"]),
        tap("relu", "rectified", "relu.marked"),
        helper.make_node("Add", ["relu.marked", "doubled"], ["sum"]),
        tap("out", "sum", "output"),
    ]
    described = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "n"]) for name in ("input", "output")]
    two = numpy_helper.from_array(np.array(2, np.float32), "two")
    return helper.make_graph(nodes, "toy", described[:1], described[1:], [two])


def toy():
    """The model and its steps."""
    graph = marked()
    steps = settle(graph, "Tap")
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), steps


def loaded(tmp_path):
    model, steps = toy()
    onnx.checker.check_model(model)
    return Graph("toy.onnx", model, tmp_path, steps, OPTIONS)


def listening(answers=None, factors=None):
    """A tap that answers as it told ahead, and what it hears."""
    answers, heard = {**(answers or {}), **(factors or {})}, {}

    def receive(name, value):
        heard[name] = value
        said = answers.get(name, AS_IT_IS)
        return (value if said == AS_IT_IS else value * said) if isinstance(said, float) else said

    return ScopedTap(receive, ahead=lambda name: answers.get(name, AS_IT_IS)), heard


def test_each_step_becomes_a_tensor():
    """By its name, or the output that it is; a mark remains as a copy only where its value is read past it."""
    model, steps = toy()
    assert [(one.step, one.tensor) for one in steps] == [(n, n) for n in ("x", "twice", "relu")] + [("out", "output")]
    assert [node.op_type for node in model.graph.node] == ["Identity", "Mul", "Identity", "Relu", "Add"]


def test_a_step_of_a_step_is_another():
    """A layer that shares keys shows its donor's: both are steps, with readers of their own."""
    graph = marked()
    graph.node.insert(3, tap("again", "twice.marked", "again.marked"))
    graph.node[4].input[0] = "again.marked"
    assert {one.step: one.tensor for one in settle(graph, "Tap")}["again"] == "again"
    assert next(node for node in graph.node if "again" in node.output).input[0] == "twice"


def test_a_graph_runs_as_it_ships(tmp_path):
    assert np.array_equal(loaded(tmp_path).run({"input": X})["output"], [[4.0, -4.0, 12.0]])


def test_steps_are_emitted_in_order(tmp_path):
    tap, heard = listening()
    found = loaded(tmp_path).observed({"input": X}, tap)
    assert list(heard) == ["x", "twice", "relu", "out"]
    assert np.array_equal(heard["relu"], [[2.0, 0.0, 6.0]])
    assert np.array_equal(found["output"], [[4.0, -4.0, 12.0]])


def test_what_follows_begins_from_the_answer(tmp_path):
    """The step's own value is heard, and what reads it reads the answer: here in float64, as an oracle has it."""
    tap, heard = listening({"twice": np.array([[-1.0, 1.0, 1.0]])})
    loaded(tmp_path).observed({"input": X}, tap)
    assert np.array_equal(heard["twice"], [[2.0, -4.0, 6.0]])
    assert np.array_equal(heard["relu"], [[0.0, 1.0, 1.0]])
    assert np.array_equal(heard["out"], [[2.0, -3.0, 7.0]])  # the sum reads what is not marked


def test_a_scaled_step_goes_on_scaled(tmp_path):
    """What is heard is not: who listens scales it for himself."""
    tap, heard = listening(factors={"twice": 0.5})
    loaded(tmp_path).observed({"input": X}, tap)
    assert np.array_equal(heard["twice"], [[2.0, -4.0, 6.0]])
    assert np.array_equal(heard["relu"], [[1.0, 0.0, 3.0]])


def test_another_set_of_answers_is_another_graph(tmp_path):
    graph = loaded(tmp_path)
    for answers in ({"relu": np.zeros((1, 3))}, {"x": np.ones((1, 3))}, {}):
        tap, heard = listening(answers)
        graph.observed({"input": X}, tap)
    assert np.array_equal(heard["out"], [[4.0, -4.0, 12.0]])


def test_an_answer_that_was_not_told_ahead_is_refused(tmp_path):
    """It would be lost, and the run be taken for one from exact inputs."""
    tap = ScopedTap(lambda name, value: value + 1)
    with pytest.raises(UsageError, match="x was answered with a value that its tap did not tell ahead"):
        loaded(tmp_path).observed({"input": X}, tap)


def test_the_last_token_alone_is_emitted(tmp_path):
    tap, heard = listening()
    loaded(tmp_path).observed({"input": X}, tap, last=["relu"])
    assert np.array_equal(heard["relu"], [[6.0]])


def test_what_the_graph_gives_is_that_of_the_graph_as_it_ships(tmp_path, monkeypatch):
    """An exposed graph fuses less: what users get is judged, in the free run."""
    graph = loaded(tmp_path)
    monkeypatch.setattr(graph, "run", lambda feeds: {"output": X + 100})
    tap, heard = listening()
    graph.observed({"input": X}, tap)
    assert np.array_equal(heard["out"], X + 100)
    tap, heard = listening({"twice": X})
    graph.observed({"input": X}, tap)
    assert heard["out"].max() < 100


def test_the_model_is_not_changed():
    model, steps = toy()
    before = model.SerializeToString(deterministic=True)
    exposed(model, steps, answered=["twice"], factors={"relu": 2.0})
    assert model.SerializeToString(deterministic=True) == before
    assert Tapped("a", "b", "bool").answer == "answer.a"


@pytest.mark.parametrize(("operator", "opset"), [("Relus", 20), ("Relu", 99)])
def test_what_the_runtime_does_not_know_is_one_line(tmp_path, operator, opset):
    """Another operator, a newer set of them."""
    model, steps = toy()
    model.graph.node[3].op_type, model.opset_import[0].version = operator, opset
    with pytest.raises(BackendUnavailable, match=r"ONNX Runtime cannot load toy\.onnx: ") as raised:
        Graph("toy.onnx", model, tmp_path, steps, OPTIONS).run({"input": X})
    assert "\n" not in str(raised.value)


def test_a_step_of_other_numbers_than_its_tensor(tmp_path):
    """Only the runtime knows what a tensor inside is of; a session that fails for another reason says that."""
    model, steps = toy()
    told = [replace(one, type="int64") if one.step == "twice" else one for one in steps]
    with pytest.raises(UsageError, match=r"steps.json: graph toy.onnx, step 'twice': tensor 'twice' is not of int64"):
        Graph("toy.onnx", model, tmp_path, told, OPTIONS).observed({"input": X}, listening()[0])
    model.graph.node[3].op_type = "Unknown"
    with pytest.raises(BackendUnavailable, match=r"cannot load toy.onnx: .*Unknown"):
        Graph("toy.onnx", model, tmp_path, steps, OPTIONS).observed({"input": X}, listening()[0])
