"""Files in GGUF: every number of the checkpoint is in them, or listed as left out; so is its configuration.

They are read by the package `gguf`, and by llama.cpp, whose rounding of rows is held against.
"""

import json
import math
import re

import numpy as np
import pytest

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

import gguf
from gguf import GGMLQuantizationType, GGUFReader, quants

from implementations.gemma3n.weight_names import LANGUAGE
from implementations.gguf.convert import write_text
from implementations.gguf.convert.account import account, counts
from implementations.gguf.convert.conversion import Conversion
from implementations.gguf.convert.kinds import F32, KINDS
from implementations.gguf.convert.quantise import by_library
from implementations.gguf.convert.text import LEFT_OUT
from parity.errors import UsageError
from reference.tiny import path
from tests import found
from tests.bad_input.inputs import checkpoint

LAYERS = {"activation_sparsity_pattern": [0.95] * 6, "num_kv_shared_layers": 0}
"""What llama.cpp computes of a model of six layers."""
RELATIVE = {"Q8_0": 6e-3, "Q4_0": 0.1, "Q5_0": 0.05, "Q4_K": 0.09, "Q6_K": 0.025}
"""Error over size of a row of noise: a step is a 127th, an 8th, a 16th of its largest number, or of what is between."""


@pytest.fixture(scope="module")
def conversion():
    return Conversion.of(path(), "tiny")


@pytest.fixture(scope="module")
def files(tmp_path_factory, conversion):
    """A file of each type."""
    folder = tmp_path_factory.mktemp("gguf")
    for name, kind in KINDS.items():
        conversion.write_text(folder / f"{name}.gguf", kind, lambda what: None)
    return {name: folder / f"{name}.gguf" for name in KINDS}


def read(file):
    """Tensors of a file by their names, and what its header says."""
    reader = GGUFReader(file)
    return {tensor.name: tensor for tensor in reader.tensors}, {
        name: field.contents() for name, field in reader.fields.items()
    }


def numbers(tensor):
    """In float32, in NumPy's order of axes."""
    shape = tuple(int(size) for size in reversed(tensor.shape))
    return quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)


def sources(conversion, tensor):
    """What the checkpoint has for a tensor, put together by other means."""
    parts = [np.asarray(conversion.text.found[part.name].read(), np.float32) for part in tensor.parts[:1]]
    if tensor.name.startswith("altup_"):
        parts = [np.asarray(conversion.text.found[part.name].read(), np.float32) for part in tensor.parts]
        return np.stack(parts)
    missing = tensor.shape[0] - parts[0].shape[0]
    return np.pad(parts[0], ((0, missing), *((0, 0),) * (parts[0].ndim - 1))) if missing else parts[0]


def test_every_number_is_there(conversion, files):
    """In float32, and in bfloat16, which the checkpoint has; float16 rounds each number once."""
    for name in ("f32", "bf16", "f16"):
        there, _ = read(files[name])
        expected = {tensor.name: tensor for tensor in conversion.text.tensors(KINDS[name])}
        assert there.keys() == expected.keys()
        for called, tensor in expected.items():
            values = sources(conversion, tensor)
            if tensor.kind == GGMLQuantizationType.F16:
                values = values.astype(np.float16).astype(np.float32)
            np.testing.assert_array_equal(numbers(there[called]), values, err_msg=called)


@pytest.mark.parametrize("name", ["q8_0", "q4_0", "q4_k_m"])
def test_blocks_are_rounded_as_llama_cpp_rounds_them(conversion, files, name):
    """To the byte, whoever rounded them; and near the checkpoint's numbers."""
    there, _ = read(files[name])
    rounded = set()
    for tensor in conversion.text.tensors(KINDS[name]):
        values, stored = sources(conversion, tensor), there[tensor.name]
        assert stored.tensor_type == tensor.kind
        if tensor.kind == F32:
            np.testing.assert_array_equal(numbers(stored), values)
            continue
        rows = values.reshape(-1, values.shape[-1])
        np.testing.assert_array_equal(stored.data.reshape(len(rows), -1), by_library(rows, tensor.kind))
        error = np.linalg.norm(numbers(stored) - values) / np.linalg.norm(values)
        assert 0 < error < RELATIVE[tensor.kind.name], tensor.name
        rounded.add(tensor.kind.name)
    assert rounded == {"q8_0": {"Q8_0"}, "q4_0": {"Q4_0"}, "q4_k_m": {"Q4_K", "Q6_K", "Q5_0", "Q8_0"}}[name]


def test_a_wrong_number_would_be_seen(conversion, files):
    """The two tests above compare with the checkpoint, and not a file with itself."""
    there, _ = read(files["q8_0"])
    tensor = next(tensor for tensor in conversion.text.tensors(KINDS["q8_0"]) if tensor.name == "blk.3.attn_q.weight")
    values = sources(conversion, tensor)
    values[5, 7] += 2 * np.abs(values[5]).max()
    assert (there[tensor.name].data != by_library(values, tensor.kind)).any()


def test_what_stays_in_float32(files):
    """Norms, what has one axis, and small matrices, which llama.cpp's own tools leave alone."""
    for name, small in (("f16", ("coef",)), ("q8_0", ("altup", "laurel", "per_layer_model_proj"))):
        for called, tensor in read(files[name])[0].items():
            exact = tensor.data.ndim == 1 or "_norm" in called or any(part in called for part in small)
            assert (tensor.tensor_type == F32) == exact, called


def test_the_mixture_has_more_bits_where_it_matters(files):
    """Of 25 layers: the first and the last eighth, and each third between; rows of 128 have blocks of 32 only."""
    there, _ = read(files["q4_k_m"])
    better = [
        layer for layer in range(25) if there[f"blk.{layer}.ffn_down.weight"].tensor_type == GGMLQuantizationType.Q6_K
    ]
    assert better == [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23, 24]
    assert {there[f"blk.{layer}.attn_v.weight"].tensor_type.name for layer in better} == {"Q8_0"}
    assert there["blk.3.attn_v.weight"].tensor_type.name == "Q5_0"
    assert there["blk.3.ffn_down.weight"].tensor_type.name == "Q4_K"
    assert there["per_layer_token_embd.weight"].tensor_type.name == "Q6_K"


def test_the_header_says_what_the_configuration_says(files):
    text = json.loads((path() / "config.json").read_text())["text_config"]
    _, header = read(files["q8_0"])
    of_model = {name.removeprefix("gemma3n."): value for name, value in header.items() if name.startswith("gemma3n.")}
    assert header["general.architecture"] == "gemma3n"
    assert (header["general.file_type"], header["general.name"]) == (gguf.LlamaFileType.MOSTLY_Q8_0, "tiny")
    pattern, scales = of_model.pop("attention.sliding_window_pattern"), of_model.pop("activation_sparsity_scale")
    assert pattern == [kind == "sliding_attention" for kind in text["layer_types"]]
    np.testing.assert_allclose(scales[:10], 1.6448536)  # the 95th percentile of a normal distribution
    assert scales[10:] == [-math.inf] * 15
    epsilon = of_model.pop("attention.layer_norm_rms_epsilon")
    assert epsilon == pytest.approx(text["rms_norm_eps"])
    assert of_model == {
        "context_length": text["max_position_embeddings"],
        "embedding_length": text["hidden_size"],
        "block_count": text["num_hidden_layers"],
        "feed_forward_length": text["intermediate_size"][0],
        "vocab_size": text["vocab_size"],
        "final_logit_softcapping": text["final_logit_softcapping"],
        "attention.head_count": text["num_attention_heads"],
        "attention.head_count_kv": text["num_key_value_heads"],
        "attention.key_length": text["head_dim"],
        "attention.value_length": text["head_dim"],
        "attention.sliding_window": text["sliding_window"],
        "attention.shared_kv_layers": text["num_kv_shared_layers"],
        "rope.freq_base": text["rope_theta"],
        "rope.freq_base_swa": text["rope_local_base_freq"],
        "altup.active_idx": text["altup_active_idx"],
        "altup.num_inputs": text["altup_num_inputs"],
        "embedding_length_per_layer_input": text["hidden_size_per_layer_input"],
    }


def test_the_template_is_the_checkpoints(files):
    _, header = read(files["f32"])
    assert header["tokenizer.chat_template"] == (path() / "chat_template.jinja").read_text()


def test_positions_of_full_layers_alone_are_divided(tmp_path):
    """That is what llama.cpp does with a factor, and what the reference does with `rope_scaling`."""
    scaling = {"rope_type": "linear", "factor": 8.0}
    folder = found.write_text(tmp_path / "scaled", **LAYERS, rope_scaling=scaling)
    write_text(folder, tmp_path / "scaled.gguf", "f32")
    _, header = read(tmp_path / "scaled.gguf")
    assert (header["gemma3n.rope.scaling.type"], header["gemma3n.rope.scaling.factor"]) == ("linear", 8.0)


def test_twice_the_same_bytes(files, tmp_path, conversion):
    for name in ("f32", "q4_k_m"):
        again = tmp_path / f"{name}.gguf"
        conversion.write_text(again, KINDS[name], lambda what: None)
        assert again.read_bytes() == files[name].read_bytes()


def test_few_rows_at_a_time(files, tmp_path, conversion, monkeypatch):
    """However few, the file is the same; and none holds more numbers than it may, or than a row has."""
    from implementations.gguf.convert import parts

    monkeypatch.setattr(parts, "NUMBERS", 5000)
    for tensor in conversion.text.tensors(KINDS["q8_0"]):
        assert max(block.size for block in tensor.blocks()) <= max(5000, tensor.shape[-1] * 128), tensor.name
    conversion.write_text(tmp_path / "again.gguf", KINDS["q4_k_m"], lambda what: None)
    assert (tmp_path / "again.gguf").read_bytes() == files["q4_k_m"].read_bytes()


class TestAccount:
    def test_every_tensor_of_checkpoint_and_file(self, conversion, files):
        """Each of the checkpoint's is in the file, or said to be left out; each of the file's is made of something."""
        entries = conversion.account(KINDS["f32"])
        assert {entry.source for entry in entries} == conversion.text.found.keys()
        assert {entry.name for entry in entries} - {None} == read(files["f32"])[0].keys()
        left = {entry.source for entry in entries if entry.name is None}
        assert left == {name for name in conversion.text.found if not name.startswith(LANGUAGE)}
        assert all(entry.change for entry in entries if entry.name is None)

    def test_changes_are_told(self, conversion):
        said = {entry.source: str(entry) for entry in conversion.account(KINDS["bf16"])}
        table = f"{LANGUAGE}embed_tokens_per_layer.weight"
        assert said[table] == (
            f"{table} [512, 6400] -> per_layer_token_embd.weight [768, 6400] BF16: "
            "rows of zeros from id 512 on, so that each id has one"
        )
        assert said[f"{LANGUAGE}altup_projections.2.weight"].endswith("[3, 128, 128] BF16: 3 matrices in one tensor")
        assert said[f"{LANGUAGE}layers.7.mlp.up_proj.weight"].endswith("-> blk.7.ffn_up.weight [256, 128] BF16")
        tower = "model.vision_tower.timm_model.conv_stem.bn.weight"
        assert said[tower] == f"{tower} [64]: left out, it is no language model's; --mmproj writes it"

    def test_counts(self, conversion):
        assert counts(conversion.account(KINDS["f32"])) == "604 F32, 7 F32 changed, 627 left out"

    def test_a_tensor_without_a_reason_fails(self, conversion):
        """Nothing is dropped silently."""
        new = {**conversion.text.found, "new": conversion.text.found[f"{LANGUAGE}norm.weight"]}
        with pytest.raises(UsageError, match="new has no place"):
            account(conversion.text.tensors(KINDS["f32"]), new, LEFT_OUT)


class TestOtherCheckpoints:
    def test_a_language_model_alone_with_a_head_of_its_own(self, tmp_path):
        """The head is a tensor of the file, which llama.cpp then uses."""
        own = found.other_head()
        folder = found.write_text(tmp_path / "untied", weights={found.HEAD: own}, **LAYERS)
        write_text(folder, tmp_path / "untied.gguf", "f32")
        there, _ = read(tmp_path / "untied.gguf")
        np.testing.assert_array_equal(numbers(there["output.weight"]), own.float().numpy())
        assert (numbers(there["token_embd.weight"]) != own.float().numpy()).any()

    def test_keys_that_were_not_saved_again(self, tmp_path):
        """As transformers 5 saves it: llama.cpp asks for tensors of layers that have none, and reads none of them."""
        folder = checkpoint(tmp_path)
        drop_shared_keys(folder)
        conversion = Conversion.of(folder, "tiny")
        conversion.write_text(tmp_path / "without.gguf", KINDS["f32"], lambda what: None)
        there, _ = read(tmp_path / "without.gguf")
        made = [entry for entry in conversion.account(KINDS["f32"]) if entry.source is None]
        assert len(made) == 5 * 3
        assert {re.sub(r"\d+", "N", entry.name) for entry in made} == {
            f"blk.N.{name}.weight" for name in ("attn_k", "attn_v", "attn_k_norm")
        }
        assert not any(numbers(there[entry.name]).any() for entry in made)


def drop_shared_keys(folder):
    """Take the tensors away that no arithmetic uses."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    parts = tuple(f"{LANGUAGE}layers.{layer}.self_attn.{name}" for layer in range(20, 25) for name in ("k_", "v_proj"))
    kept = {name: tensor for name, tensor in load_file(file).items() if not name.startswith(parts)}
    file.unlink()
    save_file(kept, file, metadata={"format": "pt"})
