"""What each port of ours says of a checkpoint that is not whole: one line that names the tensor or the file."""

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402  # behind importorskip

from parity.discovery import find  # noqa: E402
from parity.errors import UsageError  # noqa: E402
from reference.tiny import path  # noqa: E402

LANGUAGE = "model.language_model."
NORM = f"{LANGUAGE}norm.weight"


@pytest.fixture(scope="module")
def weights():
    """The embedded checkpoint's tensors."""
    return load_file(path() / "model.safetensors")


@pytest.fixture(params=["mlx", "ane"])
def refusal(request):
    """What a port says when it loads a folder."""
    if request.param == "mlx":
        pytest.importorskip("mlx.core")

    def said(folder):
        with pytest.raises(UsageError) as raised:
            find(request.param).load(folder, "float32")
        assert "\n" not in str(raised.value)
        return str(raised.value)

    return said


def save(folder, weights):
    """A checkpoint of these tensors."""
    (folder / "config.json").write_bytes((path() / "config.json").read_bytes())
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    "name",
    [
        NORM,
        "model.vision_tower.timm_model.conv_stem.conv.weight",
        "model.audio_tower.conformer.2.attention.attn.per_dim_scale",
        "model.embed_audio.soft_embedding_norm.weight",
    ],
)
def test_a_missing_tensor_is_named(refusal, tmp_path, weights, name):
    """Of the language model, and of a tower that is incomplete."""
    rest = {each: tensor for each, tensor in weights.items() if each != name}
    assert f"lacks {name}" in refusal(save(tmp_path, rest))


def test_an_unknown_tensor_is_named(refusal, tmp_path, weights):
    extra = f"{LANGUAGE}layers.3.self_attn.q_proj.bias"
    assert extra in refusal(save(tmp_path, {**weights, extra: torch.zeros(4)}))


def test_a_tensor_of_another_shape_is_named(refusal, tmp_path, weights):
    message = refusal(save(tmp_path, {**weights, NORM: torch.zeros(64)}))
    assert NORM in message
    assert "[64]" in message


def test_a_kernel_of_other_axes_is_refused(refusal, tmp_path, weights):
    """A depthwise kernel has one axis in time; as the two of a map it would be another checkpoint's."""
    name = "model.audio_tower.conformer.0.lconv1d.depthwise_conv1d.weight"
    message = refusal(save(tmp_path, {**weights, name: weights[name][:, :, None]}))
    assert name in message


def test_a_truncated_file(refusal, tmp_path, weights):
    file = save(tmp_path, {NORM: weights[NORM]}) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    assert "truncated" in refusal(tmp_path)


def test_no_weights(refusal, tmp_path):
    (tmp_path / "config.json").write_bytes((path() / "config.json").read_bytes())
    assert "no *.safetensors; only safetensors are loaded, never pickles" in refusal(tmp_path)
