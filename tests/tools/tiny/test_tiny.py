"""The embedded checkpoint: rebuilt byte for byte, small, complete, and loaded by the reference's own classes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reference import tiny
from reference.common import drawing, safetensors_file
from tools.tiny import build, config, weights

FILES = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def transformers() -> Any:
    """The reference's library."""
    return pytest.importorskip("transformers", reason="needs the [hf] extra")


@pytest.fixture(scope="module")
def loaded(transformers: Any) -> tuple[Any, dict[str, Any]]:
    """The model in float32, and what the loader said."""
    torch = pytest.importorskip("torch", reason="needs the [hf] extra")
    load = transformers.Gemma3nForConditionalGeneration.from_pretrained
    model, report = load(tiny.path(), dtype=torch.float32, output_loading_info=True)
    return model.eval(), report


def test_path_is_light() -> None:
    """Asking where the checkpoint lies imports neither torch, transformers nor NumPy."""
    code = "import sys, reference.tiny as t; t.path(); print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_files_and_size() -> None:
    """The checkpoint has exactly its nine files, of at most 48 MB together."""
    assert {file.name for file in tiny.path().iterdir()} == FILES
    assert sum(file.stat().st_size for file in tiny.path().iterdir()) <= 48e6


def test_rebuild_is_byte_identical(transformers: Any) -> None:
    """Every file and tensor that training leaves alone has the bytes of a rebuild; the weights have their digest."""
    assert build.differing(tiny.path()) == []


def test_build_replaces_a_directory_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A build replaces what was there, and leaves nothing else behind."""
    monkeypatch.setattr(weights, "shapes", lambda _: {"model.language_model.norm.weight": (4,)})
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "stale").touch()
    assert build.main(["--output", str(tmp_path / "checkpoint")]) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]
    assert {file.name for file in (tmp_path / "checkpoint").iterdir()} == FILES


def test_interrupted_build_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A build that fails half-way leaves the old checkpoint as it was."""

    def interrupted(_: Any) -> dict[str, drawing.Shape]:
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "shapes", interrupted)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "precious").touch()
    with pytest.raises(KeyboardInterrupt):
        build.build(tmp_path / "checkpoint")
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]
    assert [file.name for file in (tmp_path / "checkpoint").iterdir()] == ["precious"]


def test_check_names_what_differs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` exits 1 and names changed, missing and surplus files, and only those."""
    committed = tmp_path / "checkpoint"
    monkeypatch.setattr(weights, "shapes", lambda _: {"model.language_model.embed_tokens.weight": (4,)})
    monkeypatch.setattr(tiny, "path", lambda: committed)
    monkeypatch.setattr(build, "RECORD", tmp_path / "training.json")
    build.build(committed)
    build.RECORD.write_text(json.dumps({"weights": build.digests(committed)[build.WEIGHTS]}))
    assert build.main(["--check"]) == 0
    (committed / "config.json").write_text("{}")
    (committed / "tokenizer.json").unlink()
    (committed / "surplus").touch()
    assert build.main(["--check"]) == 1
    named = [line.split(":")[0].rsplit("/", 1)[1] for line in capsys.readouterr().err.splitlines() if "differs" in line]
    assert named == ["config.json", "surplus", "tokenizer.json"]


def test_check_sees_a_weight_that_training_did_not_touch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not even a record of the changed file's digest hides it."""
    committed, name = tmp_path / "checkpoint", "model.language_model.embed_tokens.weight"
    monkeypatch.setattr(weights, "shapes", lambda _: {name: (4,)})
    monkeypatch.setattr(build, "RECORD", tmp_path / "training.json")
    build.build(committed)
    safetensors_file.write(committed / build.WEIGHTS, {name: np.zeros(4, np.uint16)})
    build.RECORD.write_text(json.dumps({"weights": build.digests(committed)[build.WEIGHTS]}))
    assert build.differing(committed) == [build.WEIGHTS]


def test_bfloat16_rounds_to_nearest_even() -> None:
    """Our rounding is ml_dtypes' rounding."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.random.default_rng(0).standard_normal(4096)
    values[:3] = [1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8)]  # ties
    expected = values.astype(np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)
    assert np.array_equal(drawing.to_bfloat16(values), expected)


def test_a_name_without_a_rule_is_an_error() -> None:
    """A tensor that the table forgot is named, never drawn from a default."""
    with pytest.raises(LookupError, match=r"model\.new\.weight: 0 rules match"):
        weights.rule("model.new.weight")


def test_every_rule_is_used() -> None:
    """No rule of the table is dead."""
    stored = safetensors_file.shapes(tiny.path() / "model.safetensors")
    assert {weights.rule(name) for name in stored} == set(weights.RULES)


def test_loader_finds_every_tensor(loaded: tuple[Any, dict[str, Any]]) -> None:
    """Nothing is missing or unexpected; the loader passes over the k and v of KV-shared layers without a word."""
    model, report = loaded
    assert not any(report.values()), report
    stored = set(safetensors_file.shapes(tiny.path() / "model.safetensors"))
    unused = {name for name, _ in weights.shared_key_values()}
    assert stored - unused == set(model.state_dict()) - {"lm_head.weight"}
    assert unused <= stored


def test_word_embedding_is_tied(loaded: tuple[Any, dict[str, Any]]) -> None:
    """The head is the embedding."""
    model, _ = loaded
    assert model.lm_head.weight.data_ptr() == model.model.language_model.embed_tokens.weight.data_ptr()


def test_geometry(loaded: tuple[Any, dict[str, Any]]) -> None:
    """The text tower keeps what llama.cpp hard-codes."""
    text = loaded[0].config.text_config
    assert (text.num_hidden_layers, text.num_kv_shared_layers, text.hidden_size, text.head_dim) == (25, 5, 128, 32)
    assert (text.laurel_rank, text.hidden_size_per_layer_input, text.altup_num_inputs) == (64, 256, 4)
    assert (text.altup_active_idx, text.final_logit_softcapping, text.sliding_window) == (0, 30.0, 16)
    assert text.activation_sparsity_pattern == [0.95] * 10 + [0.0] * 15
    assert [index for index, kind in enumerate(text.layer_types) if kind == "full_attention"] == [4, 9, 14, 19, 24]
    assert text.rope_parameters["full_attention"]["rope_theta"] == 1e6
    assert text.rope_parameters["sliding_attention"]["rope_theta"] == 1e4


def test_vocabulary_has_the_published_structure(loaded: tuple[Any, dict[str, Any]]) -> None:
    """Text, vision and audio ids follow each other; begin tokens are text, end tokens open their range."""
    found = loaded[0].config
    assert (found.text_config.vocab_size, found.text_config.vocab_size_per_layer_input) == (768, 512)
    assert (found.vision_config.vocab_offset, found.audio_config.vocab_offset) == (512, 640)
    assert (found.eoi_token_id, found.image_token_id, found.eoa_token_id, found.audio_token_id) == (512, 513, 640, 641)
    assert max(found.boi_token_id, found.boa_token_id) < 512


def test_dtype_of_the_file(transformers: Any) -> None:
    """The checkpoint declares bfloat16, and the towers their numbers of soft tokens."""
    found = transformers.AutoConfig.from_pretrained(tiny.path())
    assert str(found.dtype) == "torch.bfloat16"
    assert found.vision_soft_tokens_per_image == config.IMAGE_TOKENS == 16
    assert found.audio_soft_tokens_per_image == config.AUDIO_TOKENS == 32
