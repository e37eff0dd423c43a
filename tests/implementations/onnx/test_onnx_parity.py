"""The graphs in every scenario of text against the reference, and faults planted in the graphs themselves.

All of it is slow: the graphs are exported first, which takes two minutes of the first run.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from onnx import ModelProto, helper, numpy_helper

from implementations.onnx import Backend
from implementations.onnx.package.folder import DECODER, EMBEDDER
from implementations.onnx.package.graph import exposed
from implementations.onnx.package.tensors import array_of
from implementations.onnx.session import Graph
from parity.errors import ExitCode, UsageError
from parity.tap import SILENT, ScopedTap
from reference.gemma3n.scenarios import MEANINGS
from tests.harness import PROMPT, require_parity

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def backend(harness):
    """The embedded checkpoint's graphs."""
    return Backend.load(harness.checkpoint, "float32", threads="1")


def often(scenario):
    """A conversation (`generate`) reads, replies and reads on, as the scenarios do that are left out."""
    return () if scenario not in ("decode", "warm", "grown") else pytest.mark.exhaustive


@pytest.mark.parametrize("scenario", [pytest.param(name, marks=often(name)) for name in MEANINGS])
def test_parity(scenario, backend, harness):
    """Every step covered, none introduced, worst ratio at most 4 floors, exit 0."""
    require_parity(harness.judge(backend, "float32", scenario))


def test_steps_are_recorded_in_the_contracts_order(backend, harness):
    """But for the three projections of streams, of which the contract has each line together."""
    oracle = harness.oracle_trace("one-shot", PROMPT)
    found = [key.step for key in harness.trace(backend, "float32", oracle=oracle.path, mode="lockstep").records]
    expected = [step.name for step in oracle.contract if step.name in set(found)]
    assert [*filter(ordered, found)] == [*filter(ordered, expected)]
    assert len(found) == 1229


def ordered(step):
    return not step.startswith(("text.altup.embed", "text.altup.unembed"))


def test_the_graph_as_it_ships_says_the_same(backend):
    """Of the exposed one fewer operations are fused: they differ by a rounding, of a floor of some 1e-6."""
    backend.begin()
    decoder, feeds = backend._program.graphs[DECODER], inputs(backend, [[2, 600, 700, 80]])
    plain, seen = decoder.run(feeds)["logits"], decoder._look(feeds, {}, {})["logits"]
    assert np.linalg.norm(plain - seen) / np.linalg.norm(plain) < 5e-7


def inputs(backend, tokens):
    """What the decoder takes."""
    program, ids = backend._program, np.array(tokens)
    positions = np.arange(ids.shape[1])[None]
    return {**program.graphs[EMBEDDER].run({"input_ids": ids}), "position_ids": positions, **program._held}


def test_every_answer_is_read(backend):
    """Lockstep judges what follows a step only if its answer is used: all but the logits' are."""
    for graph in backend._program.graphs.values():
        model = exposed(graph.model, graph.steps, answered=[one.step for one in graph.steps])
        read = {name for node in model.graph.node for name in node.input}
        unread = {one.step for one in graph.steps if one.answer not in read}
        assert unread <= {one.step for one in graph.steps if one.tensor in graph.outputs}
        assert "text.layers.24.out" not in unread


def test_a_step_begins_from_its_answer(backend):
    """A wrong mean of a gate is in the cutoff that is made of it, and nowhere else."""
    backend.begin()
    graph, feeds = backend._program.graphs[DECODER], inputs(backend, [[2, 600, 700]])
    own = graph._look(feeds, {}, {})
    answers = {one: own[one.tensor] for one in graph.steps}
    right = graph._look(feeds, answers, {})
    wrong = {one: value + 0.1 if one.step == "text.layers.3.mlp.gate_mean" else value for one, value in answers.items()}
    found = graph._look(feeds, wrong, {})
    changed = [one.step for one in graph.steps if not np.array_equal(found[one.tensor], right[one.tensor])]
    assert changed == ["text.layers.3.mlp.cutoff"]


def test_a_tap_that_answers_otherwise_is_refused(backend):
    backend.begin()
    with pytest.raises(UsageError, match=r"text.embed_tokens was answered"):
        backend.forward(np.array([[2]]), tap=ScopedTap(lambda name, value: value * 2 if "embed" in name else value))


def made(graph, tensor):
    """The node that makes a tensor."""
    return next(node for node in graph.node if tensor in node.output)


def constant(graph, name, value):
    """A new constant of that name."""
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def weight_scaled(graph, folder):
    """One weight of a thousand is not what moves: all are, by a thousandth."""
    tensor = next(
        tensor for tensor in graph.initializer if tensor.name == "layers.3.laurel.linear_left.weight.transposed"
    )
    scaled = array_of(tensor, folder) * np.float32(1.001)
    tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))


def axes_exchanged(graph, folder):
    """Groups and their heads the wrong way round, in the same shape."""
    node = made(graph, made(graph, "text.layers.6.attn.context").input[0])
    node.attribute[0].CopyFrom(helper.make_attribute("perm", [0, 3, 2, 1, 4]))


def epsilon(graph, folder):
    """1e-5 for 1e-6 in one norm."""
    gained = made(graph, "text.layers.5.post_feedforward_layernorm")
    root = made(graph, made(graph, gained.input[0]).input[1])
    made(graph, root.input[0]).input[1] = constant(graph, "wrong", np.float32(1e-5))


def inputs_swapped(graph, folder):
    node = made(graph, "text.layers.2.altup.correct.innovation")
    first, second = node.input
    node.input[0], node.input[1] = second, first


def sum_dropped(graph, folder):
    node = made(graph, "text.layers.9.attn_gated")
    node.op_type = "Identity"
    del node.input[0]


def quantile(graph, folder):
    """1.6 for 1.645."""
    made(graph, made(graph, "text.layers.0.mlp.cutoff").input[1]).input[1] = constant(graph, "wrong", np.float32(1.6))


def another_donor(graph, folder):
    made(graph, "text.layers.21.attn.keys").input[0] = "present.17.key"


def cap(graph, folder):
    """29 for 30 before the hyperbolic tangent."""
    capped = made(graph, made(graph, "logits").input[0])
    made(graph, capped.input[0]).input[1] = constant(graph, "wrong", np.float32(29))


def cache_behind(graph, folder):
    """The past behind what is new, in one layer."""
    node = made(graph, "present.7.key")
    first, second = node.input
    node.input[0], node.input[1] = second, first


FAULTS = {
    "a weight scaled": (weight_scaled, "one-shot", "text.layers.3.laurel.left"),
    "axes exchanged": (axes_exchanged, "one-shot", "text.layers.6.attn.context"),
    "an epsilon": (epsilon, "one-shot", "text.layers.5.post_feedforward_layernorm"),
    "inputs swapped": (inputs_swapped, "one-shot", "text.layers.2.altup.correct.innovation"),
    "a sum dropped": (sum_dropped, "one-shot", "text.layers.9.attn_gated"),
    "a constant": (quantile, "one-shot", "text.layers.0.mlp.cutoff"),
    "another donor": (another_donor, "one-shot", "text.layers.21.attn.keys"),
    "a cap": (cap, "one-shot", "text.logits"),
    "the past behind": (cache_behind, "batch", "text.layers.7.attn.keys"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_at_its_step(fault, backend, harness, monkeypatch):
    """Planted in the exported graph, which is then run as it is."""
    plant, scenario, step = FAULTS[fault]
    right, model = backend._program.graphs[DECODER], ModelProto()
    model.CopyFrom(right.model)
    plant(model.graph, right._folder)
    monkeypatch.setitem(
        backend._program.graphs, DECODER, Graph("it", model, right._folder, right.steps, right._options)
    )
    judgement = harness.judge(backend, "float32", scenario)
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.first_divergence.step == step
    assert len({found.step for found in judgement.introduced}) == 1


def test_it_is_loaded_without_torch_once_it_was_exported(backend):
    """Torch takes seconds to import, and only the export needs it."""
    import subprocess
    import sys

    program = (
        "import sys; from implementations.onnx import Backend; from reference.tiny import path\n"
        "Backend.load(path(), 'float32'); print('torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout == "False\n"
    )


def test_a_silent_run_is_the_recorded_one(backend):
    """To the bit: with a tap the same graph gives the logits, and another one is looked into."""
    tokens, heard = [[2, 600, 700]], []
    for tap in (SILENT, ScopedTap(lambda name, value: value)):
        backend.start(padding=(0,), cache=True)
        heard.append(backend.forward(np.array(tokens), tap=tap))
    assert np.array_equal(*heard)
