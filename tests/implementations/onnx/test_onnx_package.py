"""What is written into files, and packages that are not whole: one line that names the file and says what to do."""

import json
import os
import shutil

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx import TensorProto, helper

from implementations.onnx.export.weights import write_graph
from implementations.onnx.loading import write_weights
from implementations.onnx.options import Options
from implementations.onnx.package.borders import border_steps
from implementations.onnx.package.folder import FOLDER, GRAPHS, SIDECAR, VISION, Package, graph_file, write_steps
from implementations.onnx.package.graph import Tapped
from implementations.onnx.package.tensors import array_of
from parity.errors import UsageError
from reference.tiny import path

STEPS = {name: [Tapped("a.step", "output", "float32")] for name in GRAPHS}


class Counted:
    """Weights whose numbers count up."""

    def read(self, name, shape):
        return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def model():
    """A graph with a small weight and two of more than a page."""
    sizes = {"small": (2, 3), "large": (40, 30), "larger": (50, 30)}
    weights = [TensorProto(name=name, dims=size, data_type=TensorProto.FLOAT) for name, size in sizes.items()]
    node = helper.make_node("Identity", ["large"], ["output"])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph([node], "toy", [], [output], weights))


@pytest.fixture
def package(tmp_path):
    """A folder of two such graphs."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name in GRAPHS:
        write_graph(folder, name, model(), Counted())
    write_steps(folder, STEPS)
    return tmp_path


def read_all(package):
    """All graphs of a package."""
    found = Package.read(package)
    return [found.graph(name) for name in GRAPHS]


def test_what_was_written_is_read(package):
    found = Package.read(package)
    assert found.steps == {name: tuple(steps) for name, steps in STEPS.items()}
    whole = onnx.load(graph_file(found.folder, GRAPHS[0]))
    for tensor in whole.graph.initializer:
        assert np.array_equal(onnx.numpy_helper.to_array(tensor), Counted().read(tensor.name, tuple(tensor.dims)))
    places = {tensor.name: tensor.data_location for tensor in found.graph(GRAPHS[0]).graph.initializer}
    assert places == {"small": TensorProto.DEFAULT, "large": TensorProto.EXTERNAL, "larger": TensorProto.EXTERNAL}


def test_it_is_the_same_each_time(package, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    write_graph(again, GRAPHS[0], model(), Counted())
    for file in again.iterdir():
        assert file.read_bytes() == (package / FOLDER / file.name).read_bytes()


def spoiled(name, change):
    return lambda folder: change(folder / FOLDER / name)


def edited(change):
    """A sidecar with something else in it."""

    def write(file):
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return spoiled(SIDECAR, write)


def elsewhere(file):
    """A graph whose tensors are said to be outside of the package."""
    found = onnx.load(file, load_external_data=False)
    for tensor in found.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../outside" if entry.key == "location" else entry.value
    file.write_bytes(found.SerializeToString())


DATA = f"{GRAPHS[1]}.onnx_data"


def told(key, value):
    """A graph that says so of the place of its first tensor in a file."""

    def write(file):
        found = onnx.load(file, load_external_data=False)
        tensor = next(one for one in found.graph.initializer if one.data_location == TensorProto.EXTERNAL)
        kept = [(entry.key, entry.value) for entry in tensor.external_data if entry.key != key]
        del tensor.external_data[:]
        for name, said in [*kept, (key, value)]:
            tensor.external_data.add(key=name, value=said)
        file.write_bytes(found.SerializeToString())

    return spoiled(f"{GRAPHS[1]}.onnx", write)


def of_numbers(**fields):
    """A graph whose first tensor in a file is of other numbers or another shape."""

    def write(file):
        found = onnx.load(file, load_external_data=False)
        tensor = next(one for one in found.graph.initializer if one.data_location == TensorProto.EXTERNAL)
        tensor.MergeFrom(TensorProto(**fields))
        file.write_bytes(found.SerializeToString())

    return spoiled(f"{GRAPHS[1]}.onnx", write)


def stepped(*entries):
    """A sidecar with other steps of the first graph."""
    return edited(lambda content: content["steps"].update({GRAPHS[0]: [*entries]}))


def linked(file):
    """A file as the cache of a hub has it."""
    file.symlink_to(file.rename(file.with_name("blob")))


STEP = {"step": "a.step", "tensor": "output", "type": "float32"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (spoiled(f"{GRAPHS[0]}.onnx", lambda file: file.unlink()), "no onnx/embed_tokens.onnx"),
        (spoiled(f"{GRAPHS[0]}.onnx", lambda file: file.write_bytes(b"\xff" * 99)), "is no ONNX graph"),
        (spoiled(f"{GRAPHS[0]}.onnx", elsewhere), "its tensors are in outside, which is not there"),
        (spoiled(DATA, lambda file: file.unlink()), "which is not there; fetch it again"),
        (spoiled(DATA, lambda file: file.write_bytes(file.read_bytes()[:-1])), "is cut off"),
        (spoiled(SIDECAR, lambda file: file.unlink()), "config.json"),
        (spoiled(SIDECAR, lambda file: file.write_text("[")), "steps.json cannot be read"),
        (edited(lambda content: content.update(format=9)), "format 9 instead of 2"),
        (edited(lambda content: content["steps"].pop(GRAPHS[0])), "steps.json cannot be read"),
        (edited(lambda content: content["steps"].update({VISION: []})), "no onnx/vision_encoder.onnx"),
        (spoiled(DATA, linked), r"onnx_data is a symbolic link, .* copy the package with `cp -rL`"),
        (
            told("offset", "x"),
            r"decoder_model_merged.onnx: tensor 'large' has the offset 'x', which is no whole",
        ),
        (told("offset", "-1"), "tensor 'large' has the offset '-1'"),
        (told("offset", "9" * 18), "is cut off"),
        (told("length", "1e3"), "tensor 'large' has the length '1e3'"),
        (told("length", "-4800"), "tensor 'large' has the length '-4800'"),
        (told("length", "9" * 5000), "tensor 'large' has the length '999"),
        (told("length", "4799"), "tensor 'large' has 4799 bytes for 4800"),
        (of_numbers(data_type=99), "tensor 'large' has numbers of type 99"),
        (of_numbers(data_type=TensorProto.STRING), "tensor 'large' has numbers of type 8"),
        (of_numbers(dims=[-1, -1]), r"tensor 'large' has the shape \[40, 30, -1, -1\]"),
        (spoiled(SIDECAR, lambda file: file.write_text("[]")), r"steps.json cannot be read \(it is no JSON object\)"),
        (edited(lambda content: content.update(steps=[])), r"its steps are no JSON object\)"),
        (edited(lambda content: content["steps"].update({GRAPHS[0]: 5})), "no list of steps of graph embed_tokens"),
        (stepped(7), "graph embed_tokens, entry 1 is no object with step, tensor and type"),
        (stepped({"step": 1}), "graph embed_tokens, entry 1 is no object with step, tensor and type"),
        (stepped({**STEP, "type": 7}), r"steps.json .*entry 1, step 'a.step': the type is 7, no name"),
        (stepped({**STEP, "tensor": 5}), r"steps.json .*step 'a.step': the tensor is 5, no name"),
        (stepped({**STEP, "step": []}), r"steps.json .*step \[\]: the step is \[\], no name"),
        (stepped({**STEP, "type": "i4,f4"}), "step 'a.step': no type 'i4,f4'; it is one of float32, "),
        (stepped(STEP, {**STEP, "tensor": "other"}), "steps.json .*graph embed_tokens has step 'a.step' twice"),
        (stepped(STEP, {**STEP, "step": "b.step"}), "steps.json .*graph embed_tokens has tensor 'output' twice"),
        (
            stepped({**STEP, "tensor": "lost"}),
            "steps.json: graph embed_tokens.onnx, step 'a.step': .* tensor 'lost'",
        ),
        (stepped({**STEP, "type": "int64"}), "step 'a.step': tensor 'output' is not of int64; export it again"),
    ],
)
def test_a_package_that_is_not_whole(package, change, said):
    change(package)
    (package / "outside").write_bytes(bytes(1 << 20))
    with pytest.raises(UsageError, match=said) as raised:
        read_all(package)
    assert "\n" not in str(raised.value)


def test_a_number_format_that_is_not_there(package):
    """Those that are there are named, and how to write the other; its second name counts too."""
    for name in GRAPHS:
        graph_file(package / FOLDER, f"{name}_int8").write_bytes(graph_file(package / FOLDER, name).read_bytes())
    write_steps(package / FOLDER, STEPS | {f"{name}_int8": steps for name, steps in STEPS.items()})
    assert (Package.read(package).suffix, Package.read(package, "int8").suffix) == ("", "_int8")
    with pytest.raises(UsageError) as raised:
        Package.read(package, "q4")
    assert str(raised.value) == (
        f"package {package} has no graphs of type q4; it has fp32, int8: choose one of these, or write q4 with "
        "`parity onnx export --types q4`"
    )


def test_tensors_are_read_from_a_file_of_two_names(package):
    """As copies that share their room have them."""
    file = package / FOLDER / DATA
    os.link(file, package / "second")
    tensors = Package.read(package).graph(GRAPHS[1]).graph.initializer
    for tensor in tensors:
        assert np.array_equal(array_of(tensor, file.parent), Counted().read(tensor.name, tuple(tensor.dims)))


def test_weights_of_other_names(package):
    """Which of them is which of the checkpoint's, nobody says."""
    shutil.copy(path() / "config.json", package)
    with pytest.raises(UsageError, match=r"its tensors have other names than a checkpoint's, .* judge its fp32"):
        write_weights(path(), Options(package=package), package / "weights.safetensors")
    assert not (package / "weights.safetensors").exists()


def test_borders_of_a_graph_that_is_not_marked(package):
    """Of the layers that have keys of their own; what else goes in and comes out is no step."""
    names = "present.3.key", "present.20.key", "present.03.key", "logits", "audio_features", "other"
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["clip", "frame"]) for name in names]
    given = helper.make_tensor_value_info("inputs_embeds", TensorProto.FLOAT16, None)
    graph = helper.make_graph([], "toy", [given], outputs)
    assert [(one.step, one.tensor, one.type) for one in border_steps(graph, 20)] == [
        ("text.inputs_embeds", "inputs_embeds", "float16"),
        ("text.layers.3.attn.keys", "present.3.key", "float32"),
        ("text.logits", "logits", "float32"),
        ("embed_audio.soft", "audio_features", "float32"),
    ]
    outputs[4].type.tensor_type.shape.dim[1].dim_value = 188
    padded = helper.make_graph([], "toy", [], outputs)
    assert border_steps(padded, 20)[-1].step == "embed_audio.soft_tokens"
