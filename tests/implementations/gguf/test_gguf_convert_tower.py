"""The vision tower's file: every number of the checkpoint's, in the axes and the geometry that libmtmd has."""

import json

import numpy as np
import pytest

pytest.importorskip("gguf")

from gguf import GGMLQuantizationType, GGUFReader, quants

from implementations.gemma3n.config import Config
from implementations.gguf.convert.conversion import Conversion
from implementations.gguf.convert.kinds import F32, KINDS
from implementations.gguf.convert.tower import EMBEDDER, TOWER, Tower
from parity.errors import UsageError
from reference.tiny import path
from tests import found
from tests.bad_input.inputs import DELETED, checkpoint, edited
from tests.implementations.gguf.seeing import seeing


@pytest.fixture(scope="module")
def conversion(tmp_path_factory):
    return Conversion.of(seeing(tmp_path_factory.mktemp("checkpoint")), "tiny", tower=True)


@pytest.fixture(scope="module")
def file(tmp_path_factory, conversion):
    made = tmp_path_factory.mktemp("gguf") / "mmproj.gguf"
    conversion.write_tower(made, lambda what: None)
    return GGUFReader(made)


@pytest.fixture(scope="module")
def there(file):
    """Numbers by names, in NumPy's order of axes."""
    return {
        tensor.name: quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
        for tensor in file.tensors
    }


def checkpoints(conversion, name):
    return np.asarray(conversion.text.found[name].read(), np.float32)


def test_every_number_is_there(conversion, there):
    """By the names that libmtmd looks for."""
    expected = {}
    for name in conversion.text.found:
        if name.startswith(TOWER):
            called = f"v.{name.removeprefix(TOWER).replace('blocks.', 'blk.')}"
            expected[called] = checkpoints(conversion, name)
    assert there.keys() == expected.keys() | {"mm.input_projection.weight", "mm.soft_emb_norm.weight"}
    for called, values in expected.items():
        np.testing.assert_array_equal(there[called].reshape(values.shape), values, err_msg=called)
    norm = checkpoints(conversion, f"{EMBEDDER}soft_embedding_norm.weight")
    np.testing.assert_array_equal(there["mm.soft_emb_norm.weight"], norm)


def test_axes_and_types(file, there):
    """A number for each channel is a map; depthwise kernels, which ggml has in half precision only, lose nothing."""
    assert there["v.conv_stem.conv.bias"].shape == (1, 64, 1, 1)
    assert there["v.blk.2.11.layer_scale.gamma"].shape == (1, 40, 1, 1)
    kinds = {tensor.name: tensor.tensor_type for tensor in file.tensors}
    half = {name for name, kind in kinds.items() if kind == GGMLQuantizationType.F16}
    assert len(half) == 45
    assert all(there[name].shape[1] == 1 for name in half)
    assert {kinds[name] for name in kinds.keys() - half} == {F32}


def test_the_projection_is_as_wide_as_libmtmd_has_it(conversion, there):
    """Its norm is over 2,048 channels: 128 of them, four times as large, have the same norm, times four."""
    narrow = checkpoints(conversion, f"{EMBEDDER}embedding_projection.weight")
    wide = there["mm.input_projection.weight"]
    assert wide.shape == (2048, 2048)
    np.testing.assert_array_equal(wide[:128], 4 * narrow)
    assert not wide[128:].any()

    def normed(x):
        return x / np.sqrt(np.square(x).mean() + 1e-6)

    token = np.random.default_rng(0).normal(size=2048)
    np.testing.assert_allclose(normed(wide @ token)[:128] / 4, normed(narrow @ token), rtol=1e-12)
    assert conversion.tower.factor == 4


def test_the_header(file):
    told = {name: field.contents() for name, field in file.fields.items()}
    assert (told["general.architecture"], told["general.type"]) == ("clip", "mmproj")
    assert (told["clip.projector_type"], told["clip.has_vision_encoder"]) == ("gemma3nv", True)
    assert (told["clip.vision.image_size"], told["clip.vision.projection_dim"]) == (256, 2048)
    assert (told["clip.vision.image_mean"], told["clip.vision.image_std"]) == ([0, 0, 0], [1, 1, 1])


def test_the_account_has_the_tower(conversion):
    """What is left out is the audio tower, and embeddings of ids that llama.cpp does not have."""
    entries = conversion.account(KINDS["f32"])
    left = {entry.source: entry.change for entry in entries if entry.name is None}
    assert {entry.source for entry in entries if entry.source} == conversion.text.found.keys()
    assert {name for name in left if "audio" not in name} == {
        f"{EMBEDDER}embedding.weight",
        f"{EMBEDDER}hard_embedding_norm.weight",
    }
    assert set(left.values()) == {
        "llama.cpp has no audio tower of Gemma 3n",
        "llama.cpp has no embeddings of the ids of pictures",
    }
    (projection,) = (str(entry) for entry in entries if entry.name == "mm.input_projection.weight")
    assert projection.endswith("[2048, 2048] F32: times 4, and rows of zeros up to 2,048")


def test_files_of_a_command(parity, tmp_path):
    """A language model of another width than 2,048 has a vocabulary of its own for libmtmd."""
    code, _, said = parity("gguf", "convert", seeing(tmp_path), tmp_path / "files", "--types", "q4_0", "--mmproj")
    assert (code, said) == (0, "")
    made = sorted(file.name for file in (tmp_path / "files").iterdir())
    assert made == ["mmproj.gguf", "model-q4_0.gguf", "tensors.txt", "vocabulary.gguf"]


@pytest.mark.parametrize(
    ("file", "place", "value", "said"),
    [
        (
            "config.json",
            ("vision_config", "model_args", "msfa_output_resolution"),
            8,
            "msfa_output_resolution 8, there",
        ),
        ("preprocessor_config.json", ("size", "height"), 512, "pictures of 512 by 256, there squares of a multiple of"),
        ("preprocessor_config.json", ("size",), {"height": 192, "width": 192}, "pictures of 192 by 192, there squares"),
        ("preprocessor_config.json", ("rescale_factor",), 0.5, "rescale_factor 0.5, there 1/255"),
        ("config.json", ("vision_config", "rms_norm_eps"), 1e300, "vision_config.rms_norm_eps 1e+300, there a float32"),
    ],
)
def test_a_geometry_that_libmtmd_does_not_have(tmp_path, file, place, value, said):
    folder = seeing(tmp_path)
    edited(*place, value=value)(folder / file)
    with pytest.raises(UsageError, match="has a tower that libmtmd does not compute: ") as raised:
        Tower.of(folder, Config.from_directory(folder))
    assert said in str(raised.value)


def test_the_embedded_checkpoint_has_another(parity, tmp_path):
    code, _, said = parity("gguf", "convert", "tiny", tmp_path / "files", "--mmproj")
    assert code == 2
    assert "msfa_output_resolution 4, there always 16; pictures of 192 by 192, there squares of a multiple" in said
    assert not list(tmp_path.iterdir())


def test_a_language_model_alone(tmp_path):
    folder = found.write_text(tmp_path / "text")
    with pytest.raises(UsageError, match="is a language model alone; it has no --mmproj"):
        Tower.of(folder, Config.from_directory(folder))


@pytest.mark.parametrize(
    ("name", "other", "said"),
    [
        (f"{TOWER}conv_stem.bn.weight", None, f"lacks {TOWER}conv_stem.bn.weight"),
        (f"{TOWER}conv_stem.bn.weight", f"{TOWER}conv_stem.bn.bias", "lacks"),
        (f"{EMBEDDER}embedding.weight", f"{TOWER}new.weight", f"unknown tensor {TOWER}new.weight"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, name, other, said):
    from safetensors.torch import load_file, save_file

    folder = seeing(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    moved = tensors.pop(name)
    (folder / "model.safetensors").unlink()
    save_file(tensors if other is None else {**tensors, other: moved}, folder / "model.safetensors")
    with pytest.raises(UsageError, match="checkpoint") as raised:
        Tower.of(folder, Config.from_directory(folder))
    assert said in str(raised.value)


def test_mean_and_deviation_are_the_processors(tmp_path):
    folder = seeing(tmp_path)
    edited("do_normalize", value=True)(folder / "preprocessor_config.json")
    Conversion.of(folder, "tiny", tower=True).write_tower(tmp_path / "mmproj.gguf", lambda what: None)
    told = GGUFReader(tmp_path / "mmproj.gguf").fields
    assert told["clip.vision.image_mean"].contents() == [0.5, 0.5, 0.5]


def test_a_deviation_that_a_header_cannot_hold(tmp_path):
    folder = seeing(tmp_path)
    edited("do_normalize", value=True)(folder / "preprocessor_config.json")
    edited("image_std", value=[0.5, 1e39, 0.5])(folder / "preprocessor_config.json")
    with pytest.raises(UsageError, match=r"image_std 1e\+39, there a float32"):
        Tower.of(folder, Config.from_directory(folder))


def test_the_processors_files_must_be_there(tmp_path):
    """They say how large a picture is."""
    folder = checkpoint(tmp_path)
    edited("size", value=DELETED)(folder / "preprocessor_config.json")
    assert json.loads((path() / "preprocessor_config.json").read_text())["size"]["height"] == 192
    with pytest.raises(UsageError, match="size"):
        Tower.of(folder, Config.from_directory(folder))
