"""`parity onnx export`: a whole package or none, and a package that runs without the checkpoint."""

import json

import pytest

pytest.importorskip("onnxruntime")

import onnx

from implementations.onnx.package.folder import DECODER, EMBEDDER, ENCODERS, FOLDER, GRAPHS, Package
from reference.tiny import path


def checkpoint(folder, **changed):
    """The embedded checkpoint with another configuration."""
    folder.mkdir()
    for file in path().iterdir():
        (folder / file.name).symlink_to(file)
    config = json.loads((path() / "config.json").read_text()) | changed
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_type_that_there_is_not(parity, tmp_path):
    code, _, said = parity("onnx", "export", "tiny", tmp_path / "package", "--types", "fp32,q3")
    assert (code, said) == (2, "parity: --types has no 'q3'; choose of fp32, fp16, q4, q4f16, int8, uint8, or all\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "said"),
    [("nowhere", "no such directory"), ({"model_type": "llama"}, "model_type is 'llama'")],
    ids=["no checkpoint", "another model"],
)
def test_a_checkpoint_that_cannot_be_exported_leaves_nothing(parity, tmp_path, model, said):
    given = model if isinstance(model, str) else checkpoint(tmp_path / "other", **model)
    before = sorted(tmp_path.iterdir())
    code, out, told = parity("onnx", "export", given, tmp_path / "package")
    assert (code, out, told.count("\n")) == (2, "", 1)
    assert said in told
    assert sorted(tmp_path.iterdir()) == before


def test_an_interrupted_export_leaves_nothing(parity, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("implementations.onnx.loading.write_package", interrupted)
    code, _, said = parity("onnx", "export", "tiny", tmp_path / "package")
    assert (code, said) == (130, "parity: interrupted\n")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The embedded checkpoint's package."""
    from implementations.onnx.command import export

    folder = tmp_path_factory.mktemp("exported") / "package"
    assert export("tiny", folder) == 0
    return folder


@pytest.mark.slow
def test_a_package_is_as_the_published_one(package):
    """Files, names and open axes; a checker of others finds nothing wrong with it."""
    for name in (*GRAPHS, *ENCODERS):
        onnx.checker.check_model(package / FOLDER / f"{name}.onnx")
    assert (package / "tokenizer.json").read_bytes() == (path() / "tokenizer.json").read_bytes()
    assert not list(package.glob("*.safetensors"))
    embedder, decoder = (Package.read(package).graph(name).graph for name in (EMBEDDER, DECODER))
    assert [value.name for value in embedder.input] == ["input_ids"]
    assert [value.name for value in embedder.output] == ["inputs_embeds", "per_layer_inputs"]
    kept = [f"{layer}.{what}" for layer in range(20) for what in ("key", "value")]
    taken = ["inputs_embeds", "per_layer_inputs", "position_ids", *(f"past_key_values.{name}" for name in kept)]
    assert [value.name for value in decoder.input] == taken
    assert [value.name for value in decoder.output] == ["logits", *(f"present.{name}" for name in kept)]
    axes = [axis.dim_param or axis.dim_value for axis in decoder.input[3].type.tensor_type.shape.dim]
    assert axes == ["batch", 2, "past", 32]


@pytest.mark.slow
def test_a_package_runs_in_place_of_a_checkpoint(package, parity):
    """It has its own configuration, tokenizer and templates."""
    question = ("generate", "--prompt", "What is it?", "--max-tokens", 8)
    answers = [parity(*question, "--backend", name) for name in (f"onnx@package={package}", "onnx")]
    assert answers[0] == answers[1]
    assert answers[0][0] == 0
    assert answers[0][1].strip()


@pytest.mark.slow
def test_a_package_of_another_model_is_refused(package, tmp_path, parity):
    """Its graphs take keys of layers that the configuration does not have."""
    other = tmp_path / "other"
    other.mkdir()
    for file in package.iterdir():
        if file.name != "config.json":
            (other / file.name).symlink_to(file)
    config = json.loads((package / "config.json").read_text())
    config["text_config"]["num_kv_shared_layers"] = 6
    (other / "config.json").write_text(json.dumps(config))
    code, _, said = parity("generate", "--backend", f"onnx@package={other}", "--prompt", "Hello")
    assert code == 2
    assert "takes an unknown past_key_values.19.key; is it of the model that config.json describes?" in said
