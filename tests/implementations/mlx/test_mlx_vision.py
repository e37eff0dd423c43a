"""The MLX vision tower against the reference: every step, in both arithmetics, at odd sizes and at full width."""

from __future__ import annotations

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")

from implementations.mlx.tensors import MlxTensors  # noqa: E402
from parity.errors import ExitCode  # noqa: E402
from parity.tap import SILENT, ScopedTap  # noqa: E402
from reference.tiny import path  # noqa: E402
from tests.marks import quick  # noqa: E402
from tests.vision_parties import Gallery, VisionMlx, images  # noqa: E402


@pytest.fixture(scope="module")
def load(harness):
    """The embedded checkpoint in some dtype, loaded once a session."""
    return lambda dtype: harness.oracle if dtype == "float64" else harness.baseline(dtype)


@pytest.fixture(scope="module")
def gallery(load, tmp_path_factory):
    """Two images of 64 x 128, so that height is not width anywhere; maps of 4 x 8 are pooled to 4 x 4."""
    return Gallery(tmp_path_factory.mktemp("mlx") / "wide", load, images(64, 128))


@pytest.mark.parametrize("dtype", quick(["float32", "bfloat16"], "float32"))
def test_every_step_is_at_parity(dtype, gallery):
    """Every step covered, none else, within 4 floors, in the free run and from exact inputs."""
    judgement = gallery.judge(VisionMlx.load(path(), dtype, gallery.pixels), dtype)
    assert not judgement.missing
    assert judgement.first_divergence is None
    assert judgement.worst.ratio <= 4
    assert judgement.exit_code is ExitCode.PARITY


@pytest.mark.parametrize("size", [(64, 64), (100, 76)])
def test_other_sizes(size, load, tmp_path):
    """Maps that need no resizing; odd maps, whose padding differs by side, and which are interpolated to 4 x 4."""
    gallery = Gallery(tmp_path / "other", load, images(*size, 1), lockstep=False)
    judgement = gallery.judge(VisionMlx.load(path(), "float32", gallery.pixels), "float32")
    assert judgement.exit_code is ExitCode.PARITY


def test_steps_come_in_the_contracts_order_and_change_nothing(gallery):
    """Taps are emitted in execution order; with and without them the tower gives the same bits."""
    said = []
    party = VisionMlx.load(path(), "float32", gallery.pixels)
    pixels = mx.array(gallery.pixels)
    heard = party.tower(pixels, tap=ScopedTap(lambda name, value: said.append(name) or value, "vision."))
    assert said == [step.name for step in gallery.oracle.contract if step.name.startswith("vision.")]
    assert mx.array_equal(heard, party.tower(pixels, tap=SILENT))


@pytest.mark.parametrize(
    ("module", "attribute", "value", "first"),
    [
        ("conv_stem.conv", "bias", mx.zeros(64), "conv_stem.conv"),
        pytest.param("blocks.1.2", "_skips", False, "blocks.1.2.out", marks=pytest.mark.slow),
        ("blocks.2.10.pw_exp.bn", "_eps", 1e-5, "blocks.2.10.pw_exp.bn"),
        pytest.param("blocks.3.1.attn", "_dim", 48, "blocks.3.1.attn.context", marks=pytest.mark.slow),
    ],
)
def test_a_fault_in_mlx_is_found_at_its_step(module, attribute, value, first, gallery):
    """One module broken at a time: the right step, and at most three."""
    candidate = VisionMlx.load(path(), "float32", gallery.pixels)
    part = candidate.tower.timm_model
    for name in module.split("."):
        part = part[int(name)] if name.isdigit() else getattr(part, name)
    setattr(part, attribute, value)
    judgement = gallery.judge(candidate, "float32")
    assert judgement.first_divergence.step == f"vision.{first}"
    assert len(judgement.introduced) <= 3


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_maps_are_translated_both_ways(dtype, gallery):
    """MLX has channels last, the contract second."""
    step, tensors = gallery.oracle.contract.get("vision.conv_stem.conv"), MlxTensors()
    maps = mx.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(dtype)
    array = tensors.to_numpy(maps, step)
    np.testing.assert_array_equal(array.astype(int), np.arange(120).reshape(2, 3, 4, 5).transpose(0, 3, 1, 2))
    assert tensors.fits(maps, (2, 5, 3, 4), step)
    assert not tensors.fits(maps, (2, 3, 4, 5), step)
    assert mx.array_equal(tensors.from_numpy(array, maps, step), maps)
