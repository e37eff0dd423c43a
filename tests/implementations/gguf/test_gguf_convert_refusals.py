"""What llama.cpp computes otherwise is refused, all of it in one line; so is what is not whole."""

import json
import os
import shutil

import pytest

pytest.importorskip("gguf")

from implementations.gguf.convert import write_text
from implementations.gguf.convert.conversion import Conversion
from parity.errors import BackendUnavailable, CannotWrite, UsageError
from reference.tiny import path
from tests.bad_input.inputs import checkpoint, edited

FULL = ["full_attention"] * 25
SLIDING = [*["sliding_attention"] * 19, "full_attention"] + ["sliding_attention"] * 5
SHIFTED = ["full_attention" if layer % 5 == 3 else "sliding_attention" for layer in range(25)]


def refusal(folder):
    """What is said of a checkpoint."""
    with pytest.raises(UsageError) as raised:
        Conversion.of(folder, "tiny")
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"laurel_rank": 32}, "laurel_rank 32, there always 64"),
        ({"hidden_size_per_layer_input": 128}, "hidden_size_per_layer_input 128, there always 256"),
        ({"altup_num_inputs": 3}, "altup_num_inputs 3, there always 4"),
        ({"altup_active_idx": 1}, "altup_active_idx 1, there always 0"),
        ({"altup_correct_scale": False}, "altup_correct_scale false, there always true"),
        ({"final_logit_softcapping": 20.0}, "final_logit_softcapping 20.0, there always 30.0"),
        ({"final_logit_softcapping": None}, "final_logit_softcapping None, there always 30.0"),
        ({"activation_sparsity_pattern": [0.95] * 9 + [0.0] * 16}, "activation_sparsity_pattern, there 0.95 in the"),
        ({"activation_sparsity_pattern": [0.9] * 10 + [0.0] * 15}, "activation_sparsity_pattern, there 0.95 in the"),
        ({"num_kv_shared_layers": 4}, "keys shared from layer 21 on, there from 20"),
        ({"num_kv_shared_layers": 0}, "keys shared from layer 25 on, there from 20"),
        ({"intermediate_size": [256] * 24 + [128]}, "intermediate_size differs between layers"),
        ({"vocab_size_per_layer_input": 1024}, "vocab_size_per_layer_input 1024, there at most vocab_size, 768"),
        ({"layer_types": SHIFTED}, "layer_types, there layer 18 is sliding and 19 is full"),
        ({"layer_types": FULL}, "no sliding layer, there at least one"),
        (
            {"rope_parameters": {kind: {"rope_type": "linear", "factor": 2.0} for kind in set(SLIDING)}},
            "RoPE factor 2.0 of sliding layers",
        ),
        ({"sliding_window": 2**40}, "sliding_window 1099511627776, there at most 8388608"),
        ({"sliding_window": 2**23 + 1}, "sliding_window 8388609, there at most 8388608"),
        ({"max_position_embeddings": 2**33}, "max_position_embeddings 8589934592, there at most 4294967295"),
        ({"intermediate_size": [2**32] * 25}, "intermediate_size 4294967296, there at most 4294967295"),
        ({"rms_norm_eps": 1e300}, "rms_norm_eps 1e+300, there a float32 of 1.2e-38 to 3.4e+38"),
        ({"rms_norm_eps": 1e-50}, "rms_norm_eps 1e-50, there a float32 of 1.2e-38 to 3.4e+38"),
        (
            {"rope_parameters": {kind: {"rope_theta": 1e39} for kind in set(SLIDING)}},
            "RoPE base of full_attention 1e+39, there a float32",
        ),
        (
            {"rope_parameters": {kind: {"rope_type": "linear", "factor": 1e39} for kind in set(SLIDING)}},
            "RoPE factor of full_attention 1e+39, there a float32",
        ),
    ],
)
def test_what_a_header_cannot_say(tmp_path, fields, said):
    folder = checkpoint(tmp_path)
    for name, value in fields.items():
        edited("text_config", name, value=value)(folder / "config.json")
    told = refusal(folder)
    assert f"checkpoint {folder} is no model that llama.cpp computes: " in told
    assert said in told


@pytest.mark.parametrize(("name", "value"), [("sliding_window", 2**23), ("max_position_embeddings", 2**32 - 1)])
def test_the_greatest_integers_of_a_header(tmp_path, name, value):
    folder = checkpoint(tmp_path)
    edited("text_config", name, value=value)(folder / "config.json")
    Conversion.of(folder, "tiny").write_vocabulary(tmp_path / "vocabulary.gguf")


def test_all_of_it_in_one_line(tmp_path):
    folder = checkpoint(tmp_path)
    for name, value in (("laurel_rank", 32), ("altup_active_idx", 2), ("final_logit_softcapping", 10.0)):
        edited("text_config", name, value=value)(folder / "config.json")
    assert refusal(folder).endswith(
        "laurel_rank 32, there always 64; altup_active_idx 2, there always 0; "
        "final_logit_softcapping 10.0, there always 30.0"
    )


def test_what_it_can_say(tmp_path):
    """Sharing may begin with the 20th layer of any number; the pattern of layers before is free."""
    folder = checkpoint(tmp_path)
    edited("text_config", "layer_types", value=SLIDING)(folder / "config.json")
    Conversion.of(folder, "tiny")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda header: header.pop("model.language_model.norm.weight"), "leave a gap"),
        (
            lambda header: rename(header, "model.language_model.norm.weight", "model.language_model.normed.weight"),
            "lacks",
        ),
        (lambda header: rename(header, "model.audio_tower.conformer.0.norm.weight", "noise"), "unknown tensor"),
        (lambda header: header["model.language_model.norm.weight"].update(shape=[64, 2]), "needs [128]"),
        (lambda header: header["model.language_model.norm.weight"].update(dtype="F32"), "has 256 bytes"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, spoil, said):
    folder = checkpoint(tmp_path)
    file = folder / "model.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    spoil(header)
    text = json.dumps(header).encode()
    file.unlink()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    assert said in refusal(folder)


def rename(header, name, other):
    header[other] = header.pop(name)


def test_a_shard_that_is_missing(tmp_path):
    folder = checkpoint(tmp_path)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    assert "1 of 2 shards" in refusal(folder)


def test_a_file_that_is_cut_off(tmp_path):
    folder = checkpoint(tmp_path)
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2])
    assert "truncated" in refusal(folder)


def test_a_type_that_is_not_known(tmp_path):
    with pytest.raises(UsageError, match="no number type 'q3'; there are f32, bf16, f16, q8_0, q4_0, q4_k_m"):
        write_text(path(), tmp_path / "model.gguf", "q3")


def test_a_type_that_needs_a_library_that_is_not_there(tmp_path, monkeypatch):
    """It is told before anything is written; the other types need none."""

    def missing():
        raise BackendUnavailable("llama.cpp is not installed")

    monkeypatch.setattr("implementations.gguf.convert.conversion.quantiser", missing)
    with pytest.raises(BackendUnavailable):
        write_text(path(), tmp_path / "model.gguf", "q4_k_m")
    assert not list(tmp_path.iterdir())
    write_text(path(), tmp_path / "model.gguf", "q4_0")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's device that is always full")
def test_a_full_disk():
    with pytest.raises(CannotWrite, match="/dev/full cannot be written: No space left on device"):
        Conversion.of(path(), "tiny").write_vocabulary(type(path())("/dev/full"))


def test_a_disk_that_is_too_small(tmp_path, monkeypatch):
    """It is told before the work."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(2e9, 2e9, 1e6))
    with pytest.raises(CannotWrite, match=r"model.gguf takes 0.05 GB, of which its disk has 0.00; make room"):
        write_text(path(), tmp_path / "model.gguf", "f32")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_written(tmp_path):
    with pytest.raises(CannotWrite, match="cannot be written"):
        write_text(path(), tmp_path / "nowhere" / "model.gguf", "f32")
