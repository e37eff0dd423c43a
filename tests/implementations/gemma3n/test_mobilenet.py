"""The vision tower's architecture as data: names and shapes are timm's, paddings and sizes the reference's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.layers.padding import pad_same
from transformers import Gemma3nConfig, Gemma3nVisionConfig, TimmWrapperModel

from implementations.gemma3n import mobilenet
from implementations.gemma3n.config import VisionConfig
from parity.errors import UsageError
from tools.tiny.config import config


def timm_shapes(arguments):
    """Names and shapes of timm's tower, without its weights."""
    section = Gemma3nVisionConfig(**{**config()["vision_config"], "model_args": arguments})
    with torch.device("meta"):
        tower = TimmWrapperModel(section)
    return {name: tuple(tensor.shape) for name, tensor in tower.state_dict().items()}


@pytest.mark.parametrize("arguments", [None, {"channel_multiplier": 0.0625}, {"channel_multiplier": 1.3}])
def test_names_and_shapes_are_timms(arguments):
    """The published tower, the embedded narrow one, and a wider one: every parameter, none else."""
    pytest.importorskip("mlx.core")
    from implementations.mlx.vision.tower import VisionTower
    from implementations.mlx.weights import shapes

    tower = VisionTower(VisionConfig.from_json({"model_args": arguments}))
    assert shapes(tower) == timm_shapes(arguments)


def test_the_published_tower():
    """84 blocks in four stages, 33 of them attention."""
    blocks = [placed for stage in mobilenet.stages(1.0) for placed in stage]
    assert [len(stage) for stage in mobilenet.STAGES] == [3, 5, 37, 39]
    assert sum(isinstance(placed.block, mobilenet.Attention) for placed in blocks) == 33
    assert mobilenet.fused_inputs(1.0) == 640 + 1280
    assert not [placed for placed in blocks if placed.skips == (placed.block.stride > 1) and placed.inputs % 640]


@pytest.mark.parametrize("multiplier", [0.0625, 0.3, 1.0, 1.3])
def test_channels_are_multiples_of_eight(multiplier):
    """Never less than a tenth below what the multiplier asks for."""
    for published, stage in zip(mobilenet.STAGES, mobilenet.stages(multiplier), strict=True):
        for block, placed in zip(published, stage, strict=True):
            assert placed.outputs % 8 == 0
            assert placed.outputs >= 0.9 * multiplier * block.channels


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 5, 8, 19])
def test_same_padding_is_timms(size, stride, kernel):
    """As many zeros before and behind, for even and odd sizes."""
    padded = pad_same(torch.ones(1, 1, size, size), (kernel, kernel), (stride, stride))[0, 0].amax(0)
    before, behind = mobilenet.same_padding(size, kernel, stride)
    assert padded.tolist() == [0] * before + [1] * size + [0] * behind


@pytest.mark.parametrize(("coarse", "fine"), [((2, 3), (4, 6)), ((3, 4), (5, 7)), ((7, 1), (13, 1)), ((4, 4), (4, 4))])
def test_nearest_is_torchs(coarse, fine):
    mx = pytest.importorskip("mlx.core")
    from implementations.mlx.vision.resample import nearest

    x = np.random.default_rng(0).random((2, *coarse, 3), np.float32)
    expected = F.interpolate(torch.from_numpy(x).permute(0, 3, 1, 2), size=fine, mode="nearest").permute(0, 2, 3, 1)
    np.testing.assert_array_equal(np.array(nearest(mx.array(x), fine)), expected.numpy())


@pytest.mark.parametrize("size", [(4, 4), (8, 12), (4, 16), (5, 4), (7, 5), (3, 2), (6, 8)])
def test_shrinking_is_the_adapters(size):
    """Means of tiles where sides divide, else linear between centres, as the adapter's source has it."""
    mx = pytest.importorskip("mlx.core")
    from implementations.mlx.vision.resample import shrunk

    x = np.random.default_rng(0).random((2, *size, 3), np.float32)
    maps = torch.from_numpy(x).permute(0, 3, 1, 2)
    if size[0] % 4 or size[1] % 4:
        expected = F.interpolate(maps, size=(4, 4), mode="bilinear")
    else:
        expected = F.avg_pool2d(maps, (size[0] // 4, size[1] // 4))
    np.testing.assert_allclose(np.array(shrunk(mx.array(x), 4)), expected.permute(0, 2, 3, 1).numpy(), rtol=1e-6)


def test_configuration():
    """Defaults are transformers'; `model_args` are read."""
    theirs, ours = Gemma3nConfig().vision_config, VisionConfig.from_json({})
    assert (ours.architecture, ours.hidden_size) == (theirs.architecture, theirs.hidden_size)
    assert (ours.channel_multiplier, ours.tokens) == (1.0, Gemma3nConfig().vision_soft_tokens_per_image)
    small = VisionConfig.from_json(config()["vision_config"])
    assert (small.channel_multiplier, small.tokens) == (0.0625, 16)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"architecture": "mobilenetv4_small"}, "mobilenetv5_300m_enc"),
        ({"hidden_size": 1024}, "2048"),
        ({"model_args": {"block_args": []}}, "block_args"),
        ({"model_args": 3}, "no object"),
        ({"model_args": {"channel_multiplier": 0}}, "not positive"),
        ({"model_args": {"msfa_output_resolution": [16, 16]}}, "not int"),
        ({"model_args": {"channel_multiplier": "wide"}}, "not float"),
    ],
)
def test_what_cannot_run_is_refused(fields, said):
    with pytest.raises(UsageError, match=said) as raised:
        VisionConfig.from_json(fields)
    assert "\n" not in str(raised.value)
