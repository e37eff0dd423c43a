"""Weights that graphs are filled with: the checkpoint's, turned or worked out, and what a checkpoint must have."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("torch")

from implementations.gemma3n.config import Config
from implementations.onnx.export.weights import TURNED, Weights, hard_table
from parity.errors import UsageError
from parity.safetensors_header import read_header
from reference.tiny import path
from tests import found

OF_ENCODERS = ("model.vision_tower.", "model.audio_tower.", "model.embed_vision.soft_", "model.embed_audio.soft_")
LARGE, SMALL = "norm.weight", "layers.0.altup.modality_router.weight"


@pytest.fixture(scope="module")
def weights():
    return Weights(path(), Config.from_directory(path()))


def test_a_matrix_is_turned(weights):
    plain, turned = weights.read(SMALL, (4, 128)), weights.read(SMALL + TURNED, (128, 4))
    assert np.array_equal(plain.T, turned)
    assert turned.flags.c_contiguous


def test_the_head_is_the_embeddings_table(weights):
    assert np.array_equal(weights.read("lm_head.weight", (768, 128)), weights.read("embed_tokens.weight", (768, 128)))


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_of_its_own_is_read(tmp_path, tied):
    """Whatever `tie_word_embeddings` says, as transformers does."""
    own = {found.HEAD: found.other_head()}
    folder = found.write_text(tmp_path / "own", weights=own, tie_word_embeddings=tied)
    read = Weights(folder, Config.from_directory(folder)).read("lm_head.weight", (768, 128))
    assert np.array_equal(read, own[found.HEAD].float().numpy())


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
