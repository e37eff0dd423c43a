"""Folders of packages of another converter: read, run token by token, and held to the model that they are of."""

from __future__ import annotations

import gc
import shutil

import numpy as np
import pytest

pytest.importorskip("coremltools")

import torch
from safetensors.numpy import load_file, save
from transformers import Qwen3Config, Qwen3ForCausalLM
from typer.testing import CliRunner

from implementations.coreml.anemll import conversation, dumping
from implementations.coreml.anemll.dumping import tokens_of, write_dump
from implementations.coreml.anemll.folder import Folder
from implementations.coreml.command import app
from parity.cli.app import app as whole
from parity.dumps.files import is_dump
from parity.errors import ExitCode, UsageError
from parity.scenario import Chunk, Scenario
from tests.implementations.coreml.anemll_folder import BATCH, CONTEXT, write_folder
from tests.implementations.coreml.mil_text import write_compiled
from tests.toy import Toy, write

TOKENS = [3, 7, 1, 19, 4, 30, 22, 9]


def model():
    """A Qwen3 of two layers."""
    torch.manual_seed(0)
    config = Qwen3Config(
        hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=12, vocab_size=44, max_position_embeddings=64, tie_word_embeddings=False,
    )  # fmt: skip
    found = Qwen3ForCausalLM(config).eval()
    for name, weight in found.named_parameters():
        weight.data = 1 + 0.3 * torch.randn_like(weight) if "norm" in name else torch.randn_like(weight) / 4
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = model()
    path = tmp_path_factory.mktemp("anemll") / "made"
    write_folder(path, found.config, found.state_dict())
    return path


def values(folder, tmp_path, function, tokens=TOKENS):
    """What a run of a folder writes, by package and value."""
    output = tmp_path / function
    output.mkdir()
    write_dump(Folder.read(folder), tokens, function, output, lambda: None)
    return {f"{file.stem}/{name}": array for file in output.iterdir() for name, array in load_file(file).items()}


def error(found, expected):
    return np.linalg.norm(found.reshape(expected.shape) - expected) / np.linalg.norm(expected)


def expected_logits():
    with torch.no_grad():
        found = model().double()(torch.tensor([TOKENS]), output_hidden_states=True)
    return found.logits[0].numpy(), found.hidden_states[-1][0].numpy()


def test_logits_are_the_models(folder, tmp_path):
    """Token by token, through the state that both chunks share; within what float16 costs."""
    logits, normed = expected_logits()
    found = values(folder, tmp_path, "infer")
    assert found["logits/logits"].shape == (len(TOKENS), 1, 1, 44)
    assert error(found["logits/logits"], logits) < 4e-3
    assert error(found["stand-in.1_FFN_PF_chunk_02of02/output_hidden_states"], normed) < 4e-3
    assert error(found["stand-in.1_embeddings/hidden_states"], model().model.embed_tokens.weight[TOKENS].numpy()) < 1e-3


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def test_a_batch_at_a_time(folder, tmp_path):
    """The states behind the last norm, of all tokens of a batch in one call; no logits."""
    found = values(folder, tmp_path, "prefill")
    states = found["stand-in.1_FFN_PF_chunk_02of02/output_hidden_states"]
    assert states.shape == (1, 1, BATCH, 24)
    assert error(states, expected_logits()[1]) < 4e-3
    assert not any(name.startswith("logits") for name in found)


def test_compiled_packages_are_the_same(folder, tmp_path):
    """What is published is compiled: every value is the saved one's, to the bit."""
    shutil.copytree(folder, tmp_path / "made")
    for package in [*(tmp_path / "made").glob("*.mlpackage")]:
        write_compiled(package, package.with_suffix(".mlmodelc"))
        shutil.rmtree(package)
    (tmp_path / "apart").mkdir()
    found, saved = values(tmp_path / "made", tmp_path, "infer"), values(folder, tmp_path / "apart", "infer")
    assert found.keys() == saved.keys()
    for name, array in saved.items():
        np.testing.assert_array_equal(found[name], array)


def test_a_file_is_what_safetensors_writes(folder, tmp_path):
    """To the byte, though it is written call by call."""
    values(folder, tmp_path, "infer", TOKENS[:2])
    files = [*(tmp_path / "infer").iterdir()]
    assert len(files) == 5
    for file in files:
        assert file.read_bytes() == save(load_file(file))


class Calls:
    """In a conversation's place: a value of each call, and how many of the earlier are in memory still."""

    step, alive, shapes = 1, [], [(1, 44)] * 4

    def __init__(self, folder, rounded, function, shown):
        self.name = folder.embeddings.stem

    def run(self, tokens, tap):
        for number, shape in enumerate(self.shapes):
            tensors = (each for each in gc.get_objects() if type(each) is torch.Tensor)
            self.alive.append(sum(tuple(each.shape) == shape for each in tensors))
            tap(f"{self.name}.it", torch.full(shape, number + 0.5))
            yield torch.zeros(1, 1, 44)


def test_memory_holds_the_values_of_one_call(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(dumping, "Conversation", Calls)
    monkeypatch.setattr(Calls, "alive", [])
    found = values(folder, tmp_path, "infer", TOKENS[:4])
    assert Calls.alive == [0, 0, 0, 0]
    assert found["stand-in.1_embeddings/it"][:, 0, -1].tolist() == [0.5, 1.5, 2.5, 3.5]


def test_a_value_that_changes_its_shape_is_refused(folder, tmp_path, monkeypatch):
    """What a program computes may be a shape; its place in the file is that of the first."""
    monkeypatch.setattr(dumping, "Conversation", Calls)
    monkeypatch.setattr(Calls, "shapes", [(1, 4), (4, 1)])
    with pytest.raises(UsageError, match=r"stand-in.1_embeddings: it is \[4, 1\] in call 2, not as before"):
        values(folder, tmp_path, "infer", TOKENS[:2])


def test_whole_caches_are_not_written(folder, tmp_path):
    """The state of all layers is as large for each token as for the last."""
    found = values(folder, tmp_path, "infer")
    assert max(array[0].size for array in found.values()) < 4 * 2 * CONTEXT * 12


def test_a_fault_in_a_folder_changes_its_logits(folder, tmp_path):
    """The last norm behind each chunk, as the converter of Qwen3 had it in version 0.3.4."""
    wrong, found = tmp_path / "wrong", model()
    write_folder(wrong, found.config, found.state_dict(), norms=(True, True))
    assert error(values(wrong, tmp_path, "infer")["logits/logits"], expected_logits()[0]) > 0.1


def test_palettes_are_held_to_what_they_stand_for(tmp_path):
    """Against the original weights 4 bits cost 0.2 of the logits; against their own what float16 does."""
    found = model()
    found.save_pretrained(tmp_path / "model")
    write_folder(tmp_path / "made", found.config, found.state_dict(), bits=4)
    arguments = [str(tmp_path / name) for name in ("made", "model", "new")]
    told = CliRunner().invoke(app, ["dequantize", *arguments])
    assert told.exit_code == 0, told.output
    assert "new: 14 tensors as" in told.output
    assert "0 matrices in fewer bits of none" in told.output
    logits = values(tmp_path / "made", tmp_path, "infer")["logits/logits"]
    own = Qwen3ForCausalLM.from_pretrained(tmp_path / "new").double()(torch.tensor([TOKENS])).logits[0].numpy()
    assert error(logits, own) < 4e-3
    assert error(logits, expected_logits()[0]) > 2e-2


def test_matrices_of_another_model_are_named(tmp_path):
    found = model()
    others = {name: torch.randn_like(weight) for name, weight in found.state_dict().items()}
    found.save_pretrained(tmp_path / "model")
    write_folder(tmp_path / "made", found.config, others, bits=4)
    told = CliRunner().invoke(app, ["dequantize", *(str(tmp_path / name) for name in ("made", "model", "new"))])
    assert "new: 0 tensors as" in told.output
    assert "14 matrices in fewer bits of none" in told.output


def test_the_command(folder, tmp_path):
    """A folder of values, whose tokens are those of a trace."""
    one = Scenario("one-shot", (Chunk("prefill", tokens=(tuple(TOKENS),)),))
    trace = write(tmp_path, "oracle", Toy("float64"), "float64", scenario=one).path
    found = CliRunner().invoke(app, ["dump", str(folder), str(tmp_path / "dump"), "--oracle", str(trace)])
    assert found.exit_code == 0, found.output
    assert f"{tmp_path}/dump/logits.safetensors: 0.0 MB" in found.output
    assert is_dump(tmp_path / "dump")


def test_what_is_in_packages_is_listed(folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    lines = CliRunner().invoke(app, ["list", str(folder)]).output.splitlines()
    assert any("stand-in.1_FFN_PF_chunk_01of02" in line and "prefill" in line for line in lines)
    assert any("input_ids int32 [1, ?]" in line for line in lines)
    assert "no folder of Core ML packages" in str(CliRunner().invoke(app, ["list", str(folder.parent)]).exception)


def parity(*arguments):
    """The command line; returns its exit code and what it printed."""
    found = CliRunner().invoke(whole, [str(each) for each in arguments], standalone_mode=False)
    return found.return_value, found.output


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """The folder of a drawn Qwen3 of five layers, with its table, and traces of its reference."""
    path = tmp_path_factory.mktemp("learned")
    model, table = path / "model", path / "qwen3.toml"
    parity("draw", "qwen3", model)
    parity("learn", "--model", model, "--output", table)
    sides = ("--backend", f"transformers@table={table}", "--reference", f"transformers@table={table}", "--model", model)
    parity("trace", *sides, "--output", path / "oracle", "--backend", "oracle")
    parity("trace", *sides, "--output", path / "baseline", "--dtype", "float16")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("norms", [(False, True), (True, True)])
def test_inside_by_content(learned, tmp_path, norms, monkeypatch):
    """Every step of a learned model is found in packages whose names say nothing of it, and the first wrong one."""
    monkeypatch.setenv("COLUMNS", "240")
    drawn = Qwen3ForCausalLM.from_pretrained(learned / "model")
    write_folder(tmp_path / "made", drawn.config, drawn.state_dict(), norms=norms)
    code, told = parity("coreml", "dump", tmp_path / "made", tmp_path / "dump", "--oracle", learned / "oracle")
    assert code == ExitCode.PARITY, told
    code, told = parity("diff", learned / "oracle", tmp_path / "dump", "--baseline", learned / "baseline")
    if norms == (False, True):
        assert (code, told.splitlines()[1]) == (ExitCode.PARITY, "  of 93 steps 93 equal, 0 different, 0 not shown")
    else:
        assert code == ExitCode.DIVERGED
        assert told.startswith(f"{tmp_path}/dump: diverged: first at model.layers.2.input_layernorm (prefill)")
        assert "before  model.layers.1.hidden_states.5 is equal" in told


REFUSED = {
    "model_prefix: stand-in.1": ("model_prefix: ../up", "model_prefix is no name of a package in this folder"),
    "num_chunks: 2": (
        "num_chunks: 3",
        "no stand-in.1_FFN_PF_chunk_01of03.mlpackage or .mlmodelc, which meta",
    ),
    "batch_size: 8": ("batch_size: many", "batch_size is no number from 1 to 1,024"),
    f"context_length: {CONTEXT}": ("context_length: 64", "is compiled for causal_mask of [1, 1, 1, 32]"),
    "lut_ffn: none": ("lut_ffn: 4", "no stand-in.1_FFN_PF_lut4_chunk_01of02.mlpackage or"),
    "  parameters:": ("  settings:", "has no model_info with parameters"),
}


@pytest.mark.parametrize("told", REFUSED)
def test_a_folder_that_lies_is_refused(folder, tmp_path, told):
    shutil.copytree(folder, tmp_path / "made", symlinks=True)
    meta = tmp_path / "made" / "meta.yaml"
    lie, why = REFUSED[told]
    meta.write_text(meta.read_text().replace(told, lie))
    with pytest.raises(UsageError) as refusal:
        values(tmp_path / "made", tmp_path, "infer")
    assert why in str(refusal.value)


def test_what_cannot_be_run_is_refused(folder, tmp_path):
    """Too many tokens, no whole batch, ids beyond the vocabulary, another trace."""
    for function, tokens, why in (
        ("infer", [1] * 33, "33 tokens, and a context of 32"),
        ("prefill", TOKENS[:7], "7 tokens are no batches of 8"),
        ("infer", [44], "gather"),
    ):
        with pytest.raises(UsageError, match=why):
            values(folder, tmp_path, function, tokens)
        (tmp_path / function).rmdir()
    with pytest.raises(UsageError, match="held to one-shot"):
        tokens_of(write(tmp_path, "oracle", Toy("float64"), "float64").path)


def test_a_state_that_is_too_large_is_refused(folder, tmp_path, monkeypatch):
    """Before memory is taken for it."""
    monkeypatch.setattr(conversation, "LARGEST", 1000)
    with pytest.raises(UsageError, match="infer: state kv_cache_0 has no number, or more than 1,000"):
        values(folder, tmp_path, "infer")
