"""Weights in files, and packages that are not whole: one line that names the file and says what to do."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx import TensorProto, helper

from implementations.gemma3n.config import Config
from implementations.onnx.export.weights import TURNED, Weights, hard_table, write_graph
from implementations.onnx.package.folder import FOLDER, GRAPHS, SIDECAR, VISION, Package, graph_file, write_steps
from implementations.onnx.package.graph import Tapped
from parity.errors import UsageError
from parity.safetensors_header import read_header
from reference.tiny import path

OF_ENCODERS = ("model.vision_tower.", "model.audio_tower.", "model.embed_vision.soft_", "model.embed_audio.soft_")
LARGE, SMALL = "norm.weight", "layers.0.altup.modality_router.weight"
STEPS = {name: [Tapped("a.step", "tensor", "float32")] for name in GRAPHS}


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (spoiled(f"{GRAPHS[0]}.onnx", lambda file: file.unlink()), "no onnx/embed_tokens.onnx"),
        (spoiled(f"{GRAPHS[0]}.onnx", lambda file: file.write_bytes(b"\xff" * 99)), "is no ONNX graph"),
        (spoiled(f"{GRAPHS[0]}.onnx", elsewhere), "its tensors are in outside, which is not there"),
        (spoiled(DATA, lambda file: file.unlink()), "which is not there; fetch it again"),
        (spoiled(DATA, lambda file: file.write_bytes(file.read_bytes()[:-1])), "is cut off"),
        (spoiled(SIDECAR, lambda file: file.unlink()), "no onnx/steps.json"),
        (spoiled(SIDECAR, lambda file: file.write_text("[")), "steps.json cannot be read"),
        (edited(lambda content: content.update(format=9)), "format 9 instead of 2"),
        (edited(lambda content: content["steps"].pop(GRAPHS[0])), "steps.json cannot be read"),
        (edited(lambda content: content["steps"].update({VISION: []})), "no onnx/vision_encoder.onnx"),
        (edited(lambda content: content["steps"][GRAPHS[0]].append({"step": 1})), "steps.json cannot be read"),
    ],
)
def test_a_package_that_is_not_whole(package, change, said):
    change(package)
    (package / "outside").write_bytes(bytes(1 << 20))
    with pytest.raises(UsageError, match=said) as raised:
        read_all(package)
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def weights():
    return Weights(path(), Config.from_directory(path()))


def test_a_matrix_is_turned(weights):
    plain, turned = weights.read(SMALL, (4, 128)), weights.read(SMALL + TURNED, (128, 4))
    assert np.array_equal(plain.T, turned)
    assert turned.flags.c_contiguous


def test_the_head_is_the_embeddings_table(weights):
    assert np.array_equal(weights.read("lm_head.weight", (768, 128)), weights.read("embed_tokens.weight", (768, 128)))


def test_a_weight_of_another_shape(weights):
    with pytest.raises(UsageError, match=r"norm.weight is \[128\]; its config.json needs \[64\]"):
        weights.read(LARGE, (64,))


def test_frequencies_are_the_configurations(weights):
    assert weights.read("sliding_attention_inv_freq", (16,))[0] == 1


def test_what_a_checkpoint_must_have(weights):
    """All that the text path takes, and nothing that nobody knows; of towers all or nothing."""
    names = {name.removeprefix("model.language_model.") for name in read_header(path() / "model.safetensors")}
    text = {name for name in names if not name.startswith(("model.", "__"))}
    shared = tuple(f"layers.{layer}.self_attn.{part}" for layer in range(20, 25) for part in "kv")
    text = {name for name in text if not name.startswith(shared)}
    hard = {"embed_vision.weight", "embed_audio.weight", "lm_head.weight"}
    weights.require(text | hard)
    towers = {name.removeprefix("model.") for name in names if name.startswith(OF_ENCODERS)}
    weights.require(text | hard | towers)
    one = "vision_tower.timm_model.conv_stem.conv.bias"
    with pytest.raises(UsageError, match=rf"has an unknown tensor model.{one}"):
        weights.require((text | hard | towers) - {one})
    with pytest.raises(UsageError, match=r"lacks model.language_model.unheard.weight"):
        weights.require(text | hard | {"unheard.weight"})
    with pytest.raises(UsageError, match=r"has an unknown tensor model.language_model.norm.weight"):
        weights.require((text | hard) - {LARGE})


def test_encoders_weights_are_the_checkpoints(weights):
    """And sines are the configuration's: the last of the keys is the query itself, whose cosines are 1."""
    assert weights.read("embed_audio.embedding.weight", (128, 64)).shape == (128, 64)
    assert (weights.read("audio_tower.timing", (1, 13, 64))[0, -1] == [0] * 32 + [1] * 32).all()


def test_the_pictures_that_a_checkpoint_takes(tmp_path):
    """As its processor makes them; without one it takes none."""
    pytest.importorskip("onnxruntime")
    from implementations.onnx.loading import picture_of

    assert picture_of(path()) == (192, 192)
    assert picture_of(tmp_path) is None


def test_a_language_model_alone_has_no_encoders():
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from implementations.onnx.export import encoders

    config = replace(Config.from_directory(path()), text_only=True)
    assert not list(encoders.graphs(config, None))
    assert not encoders.parameters(config, None)


def test_a_scale_that_nothing_is_scaled_by_may_be_there(weights):
    config = Config.from_directory(path())
    idle = replace(config, text=replace(config.text, altup_correct_scale=False))
    read = {name for name in weights._tensors if not name.endswith("correct_output_scale")}
    other = Weights(path(), idle)
    other._sources = lambda name: (name,)
    other.require(read)


def test_hard_embeddings_have_a_norm_without_a_gain_behind():
    """Each row's root mean square is 1 but for the epsilon."""
    draw = np.random.default_rng(0)
    parts = draw.normal(size=(5, 8)), draw.normal(size=8), draw.normal(size=(6, 8))
    table = hard_table(*parts, config=Config.from_directory(path()).vision)
    assert table.shape == (5, 6)
    assert np.allclose(np.square(table).mean(axis=1), 1, atol=1e-4)
