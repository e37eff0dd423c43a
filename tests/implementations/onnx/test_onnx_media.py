"""The encoders' graphs beside the reference, and faults planted in them; the whole is in `test_media_parity`.

All of it is slow: the graphs are exported first, which takes two minutes of the first run.
"""

from __future__ import annotations

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import numpy as np
from onnx import ModelProto, numpy_helper

from implementations.onnx import Backend
from implementations.onnx.package.folder import AUDIO, ENCODERS, VISION
from implementations.onnx.session import Graph
from parity.errors import ExitCode
from tests.harness import QUESTION, require_parity
from tests.implementations.test_media_parity import BEEPS, BOTH, PICTURE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def backend(harness):
    """The embedded checkpoint's graphs."""
    return Backend.load(harness.checkpoint, "float32", threads="1")


@pytest.fixture(scope="module")
def oracle(harness):
    """A picture and a sound before a question, in one chunk."""
    return harness.oracle_trace("one-shot", QUESTION, BOTH)


@pytest.fixture(scope="module")
def judge(backend, harness):
    """Judges the graphs as they are when it is called."""
    return lambda: harness.judge(backend, "float32", "one-shot", QUESTION, BOTH)


def made(graph, tensor):
    """The node that makes a tensor."""
    return next(node for node in graph.node if tensor in node.output)


def shortcut_alone(graph):
    """What a block adds is dropped."""
    node = made(graph, "vision.blocks.1.1.out")
    node.op_type = "Identity"
    del node.input[1]


def cap(graph):
    """45 for 50 behind the hyperbolic tangent."""
    graph.initializer.append(numpy_helper.from_array(np.float32(45), "wrong"))
    made(graph, "audio.conformer.0.attention.attn.logits").input[1] = "wrong"


def padding(graph):
    """Zeros behind the sound."""
    graph.initializer.append(numpy_helper.from_array(np.zeros(128, np.float32), "nothing"))
    whole = made(graph, made(graph, made(graph, "audio_features").input[0]).input[0])
    assert whole.op_type == "Concat"
    made(graph, whole.input[1]).input[0] = "nothing"


FAULTS = {
    "a shortcut alone": (VISION, shortcut_alone, "vision.blocks.1.1.out"),
    "a cap": (AUDIO, cap, "audio.conformer.0.attention.attn.logits"),
    "silence as zeros": (AUDIO, padding, "embed_audio.soft_tokens"),
}


def test_parity(judge):
    """All steps of text, picture and sound are there."""
    judgement = judge()
    require_parity(judgement)
    assert len(judgement.steps) == 2113


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_at_its_step(fault, backend, judge, monkeypatch):
    """Planted in an encoder's exported graph, which is then run as it is."""
    name, plant, step = FAULTS[fault]
    right, model = backend._program.graphs[name], ModelProto()
    model.CopyFrom(right.model)
    plant(model.graph)
    monkeypatch.setitem(backend._program.graphs, name, Graph("it", model, right._folder, right.steps, right._options))
    judgement = judge()
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.first_divergence.step == step
    assert [found.step for found in judgement.introduced] == [step]


def test_a_silent_run_is_the_recorded_one(backend, harness):
    """To the bit: with a tap the same graphs give the features."""
    prompts, heard = ((PICTURE, BEEPS),), []
    chunk = harness.oracle.scenario("one-shot", None, prompts[0]).chunks[0]
    for how in ({}, {"tap": listening()}):
        backend.start(padding=(0,), cache=True)
        heard.append(backend.forward(np.array(chunk.tokens), prompts=chunk.prompts, **how))
    assert np.array_equal(*heard)


def listening():
    from parity.tap import ScopedTap

    return ScopedTap(lambda name, value: value)


def test_any_number_of_pictures_and_any_length_of_sounds(backend):
    """What is left open in the graphs' inputs, which is 0 where they run, and what is not."""
    found = {
        name: {
            value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
            for value in (*graph.model.graph.input, *graph.model.graph.output)
        }
        for name, graph in backend._program.graphs.items()
        if name in ENCODERS
    }
    assert found == {
        VISION: {"pixel_values": [0, 3, 192, 192], "image_features": [0, 16, 128]},
        AUDIO: {
            "input_features": [0, 0, 128],
            "input_features_mask": [0, 0],
            "audio_features": [0, 32, 128],
        },
    }
