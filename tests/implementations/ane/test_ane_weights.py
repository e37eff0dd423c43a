"""Conversion of checkpoints to the ANE-style model: every tensor is accounted for, and every number arrives."""

import json
import re

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402  # behind importorskip

from implementations.ane import Backend  # noqa: E402
from implementations.ane.account import account, main, shapes  # noqa: E402
from implementations.ane.loading import compiled  # noqa: E402
from implementations.ane.model import TABLE, TOWERS, checkpoint_name  # noqa: E402
from implementations.ane.options import Options  # noqa: E402
from implementations.ane.weights import build, load_weights  # noqa: E402
from implementations.gemma3n.config import Config  # noqa: E402
from parity.errors import UsageError  # noqa: E402
from reference.tiny import path  # noqa: E402

LANGUAGE = "model.language_model."
NORM = f"{LANGUAGE}norm.weight"


@pytest.fixture(scope="module")
def config():
    return Config.from_directory(path())


@pytest.fixture(scope="module")
def weights():
    """The embedded checkpoint's tensors."""
    return load_file(path() / "model.safetensors")


def test_weights_that_are_not_wanted_are_not_read(weights, monkeypatch):
    """All else is the checkpoint's; the account has looked at every tensor all the same."""
    read = []
    right = load_weights
    monkeypatch.setattr(
        "implementations.ane.loading.load_weights",
        lambda checkpoint, entries: read.extend(entry.name for entry in entries) or right(checkpoint, entries),
    )
    model = compiled(path(), "float32", Options(), lambda name: "_tower" not in name).model
    assert not [name for name in read if name.startswith(TOWERS)]
    parameters = [*model.named_parameters()]
    assert all(("_tower" in name) == tensor.is_meta for name, tensor in parameters)
    found = {checkpoint_name(name): tensor for name, tensor in parameters if not tensor.is_meta}
    found.pop(None)  # the head
    assert found.keys() == {name for name in weights if not name.startswith(TOWERS) and not shared(name)}
    assert all(torch.equal(tensor.flatten(), weights[name].float().flatten()) for name, tensor in found.items())


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_a_head_alone(weights, alpha):
    """It is the table, however the residual stream is scaled; nothing else has numbers."""
    model = compiled(path(), "float32", Options(alpha=alpha), lambda name: name.startswith("head.")).model
    assert {name.partition(".")[0] for name, tensor in model.named_parameters() if not tensor.is_meta} == {"head"}
    head = torch.cat([piece.weight for piece in model.head.pieces])[:, :, 0, 0]
    assert torch.equal(head, weights[TABLE].float())


def test_every_tensor_is_accounted_for(config):
    """Once each; the keys of KV-shared layers are ignored with a reason, and nothing else is."""
    entries = {entry.name: entry for entry in account(path(), config)}
    found = shapes(path())
    assert entries.keys() == found.keys()
    assert all(entry.shape == found[name] and entry.became for name, entry in entries.items())
    assert entries[TABLE].action == "tied"
    assert "16 convolutions" in entries[TABLE].became
    assert entries[f"{LANGUAGE}layers.3.mlp.gate_proj.weight"].became == "[256, 128, 1, 1]"
    assert entries[f"{LANGUAGE}layers.3.mlp.gate_proj.weight"].action == "reshaped"
    assert entries[NORM].action == "used"
    ignored = {name for name, entry in entries.items() if entry.action == "ignored"}
    assert ignored == {name for name in found if shared(name)}
    assert ignored


@pytest.mark.parametrize(
    ("name", "action", "became"),
    [
        ("vision_tower.timm_model.conv_stem.conv.weight", "used", r"\[\d+, 3, 3, 3\]"),
        ("vision_tower.timm_model.conv_stem.bn.weight", "used", r"\[\d+\]"),
        ("embed_vision.soft_embedding_norm.weight", "used", r"\[2048\]"),
        ("embed_vision.embedding_projection.weight", "reshaped", r"\[128, 2048, 1, 1\]"),
        ("audio_tower.subsample_conv_projection.conv_0.conv.weight", "used", r"\[128, 1, 3, 3\]"),
        ("audio_tower.conformer.0.ffw_layer_start.ffw_layer_1.weight", "reshaped", r"\[\d+, \d+, 1, 1\]"),
        ("audio_tower.conformer.1.lconv1d.depthwise_conv1d.weight", "reshaped", r"\[\d+, 1, 1, 5\]"),
        ("audio_tower.conformer.1.attention.attn.per_dim_scale", "used", r"\[\d+\]"),
    ],
)
def test_towers_are_accounted_for(name, action, became, config):
    """Matrices become convolutions; what is one already stays as it is."""
    entry = next(entry for entry in account(path(), config) if entry.name == f"model.{name}")
    assert entry.action == action
    assert re.fullmatch(became, entry.became)


def shared(name):
    """Whether a tensor is a key or value weight of one of the last five layers."""
    return any(f".layers.{layer}.self_attn.{part}" in name for layer in range(20, 25) for part in ("k_", "v_"))


def test_every_number_arrives(config):
    """Parameters, put together again, are the checkpoint's tensors; the head is the table, and no view of it."""
    weights = load_weights(path(), account(path(), config))
    model = build(config, weights)
    head = torch.cat([piece.weight for piece in model.head.pieces])[:, :, 0, 0]
    assert torch.equal(head, weights[TABLE])
    assert torch.equal(model.embedder.embed_tokens.weight, weights[TABLE])
    assert head.data_ptr() != model.embedder.embed_tokens.weight.data_ptr()
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == sum(tensor.numel() for tensor in weights.values()) + weights[TABLE].numel()
    for name in (f"{LANGUAGE}layers.7.altup.prediction_coefs.weight", f"{LANGUAGE}altup_projections.2.weight"):
        parameter = model.decoder.get_parameter(name.removeprefix(LANGUAGE))
        assert torch.equal(parameter[:, :, 0, 0], weights[name])


def test_the_account_is_printed(capsys):
    """A line for each tensor and one of counts."""
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(shapes(path())) + 1
    assert "1 tied" in lines[-1]
    assert any(line.startswith("ignored") and "shares its donor's keys and values" in line for line in lines)
    assert any(line.startswith("reshaped") and "model.audio_tower." in line for line in lines)


def test_the_account_of_nothing(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "config.json" in capsys.readouterr().err


def test_shards_without_shared_keys_but_with_a_head(tmp_path, weights, config):
    """Both load, and the account says what becomes of the head."""
    kept = {name: tensor for name, tensor in weights.items() if ".layers.22.self_attn.k_proj" not in name}
    kept["lm_head.weight"] = torch.zeros(768, 128)
    files = {name: f"model-{index % 2}.safetensors" for index, name in enumerate(sorted(kept))}
    for file in set(files.values()):
        save_file({name: kept[name] for name in kept if files[name] == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    (tmp_path / "config.json").write_bytes((path() / "config.json").read_bytes())
    entries = {entry.name: entry for entry in account(tmp_path, config)}
    assert entries["lm_head.weight"].became == "16 convolutions of the head"
    assert entries[TABLE].action == "used"
    assert load_weights(tmp_path, list(entries.values())).keys() == {
        name for name, entry in entries.items() if entry.action != "ignored"
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"colour": "red"}, "no option 'colour'; it has alpha, context, batch, limit"),
        ({"alpha": "big"}, "alpha=big is not a number"),
        ({"alpha": "-1"}, "alpha=-1 is not positive"),
        ({"alpha": "nan"}, "alpha=nan"),
        ({"context": "1.5"}, "context=1.5 is not a whole number"),
        ({"context": "0"}, "context=0"),
        ({"context": "1000000"}, "the model has"),
        ({"context": "32"}, "batch=64 exceeds the context of 32"),
    ],
)
def test_options_that_cannot_be(options, said):
    with pytest.raises(UsageError, match=said):
        Backend.load(path(), "float32", **options)


def test_options():
    assert Options.parse({}).fitted(32_768) == 1024
    assert Options.parse({}).fitted(256) == 256
    assert Options.parse({"context": "4096", "alpha": "0.125", "limit": "inf"}) == Options(
        0.125, 4096, 64, float("inf")
    )


def test_doctor_and_versions():
    ((installed, name, found),) = Backend.doctor()
    assert (installed, name) == (True, "torch")
    assert found == Backend.versions()["torch"]
