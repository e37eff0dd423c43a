"""The ANE-style vision tower against the reference: every step, in both arithmetics, at odd sizes and at full width."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402  # behind importorskip

from implementations.ane.arithmetic import Float16Ane  # noqa: E402
from implementations.ane.engine.layers import RMSNorm  # noqa: E402
from implementations.ane.vision.convolution import Convolution  # noqa: E402
from implementations.ane.vision.resample import doubled, linear, shrunk  # noqa: E402
from parity.errors import ExitCode  # noqa: E402
from parity.tap import SILENT, ScopedTap  # noqa: E402
from reference.tiny import path  # noqa: E402
from tests.harness import require_parity  # noqa: E402
from tests.vision_parties import Gallery, VisionAne, images  # noqa: E402

DTYPES = ("float32", "float16-ane")


@pytest.fixture(scope="module")
def gallery(harness, tmp_path_factory):
    """Makes and keeps the gallery of some images; the embedded checkpoint is loaded once a session."""
    made, folder = {}, tmp_path_factory.mktemp("ane")
    load = lambda dtype: harness.oracle if dtype == "float64" else harness.baseline(dtype)  # noqa: E731

    def make(*size):
        if size not in made:
            made[size] = Gallery(folder / f"gallery-{len(made)}", load, images(*size))
        return made[size]

    return make


@pytest.fixture(scope="module")
def tower():
    """The embedded checkpoint's tower in float32."""
    return VisionAne.load(path(), "float32", images(64, 64, 1)).tower


SIZES = [(64, 128, 2), (128, 192, 1), (64, 64, 1), (100, 76, 1)]


def cases():
    """Every size in float32; in the engine's arithmetic the first and the last."""
    for size, dtype in itertools.product(SIZES, DTYPES):
        often = dtype == DTYPES[0] or size in (SIZES[0], SIZES[-1])
        slow = pytest.mark.slow if often else pytest.mark.exhaustive
        yield pytest.param(size, dtype, marks=() if (size, dtype) == (SIZES[0], DTYPES[0]) else slow)


@pytest.mark.parametrize(("size", "dtype"), list(cases()))
def test_every_step_is_at_parity(size, dtype, gallery):
    """Two images and one, pooled maps; maps that fit; odd maps, padded differently by side, and interpolated."""
    shown = gallery(*size)
    require_parity(shown.judge(VisionAne.load(path(), dtype, shown.pixels), dtype))


def test_the_images_are_asymmetric(gallery):
    """No row is another, no column is, nor is a channel: nothing that swaps or mirrors them stays unseen."""
    pixels = gallery(64, 128, 2).pixels
    for axis in range(4):
        slices = np.moveaxis(pixels, axis, 0).reshape(pixels.shape[axis], -1)
        assert len(np.unique(slices, axis=0)) == pixels.shape[axis]


def test_steps_come_in_the_contracts_order_and_change_nothing(gallery, tower):
    """Taps are emitted in execution order; with and without them the tower gives the same bits."""
    shown, said = gallery(64, 128, 2), []
    pixels = torch.from_numpy(shown.pixels)
    heard = tower(pixels, tap=ScopedTap(lambda name, value: said.append(name) or value, "vision."))
    assert said == [step.name for step in shown.oracle.contract if step.name.startswith("vision.")]
    assert torch.equal(heard, tower(pixels, tap=SILENT))
    assert heard.shape == (2, 2048, 1, 16)


def test_every_answer_of_a_tap_is_used(tower):
    """Lockstep judges what follows a step only if its answer is used: change each, and the soft tokens move.

    Of the blocks one of each kind.
    """
    pixels, said = torch.from_numpy(images(64, 64, 1)), []
    plain = tower(pixels, tap=ScopedTap(lambda name, value: said.append(name) or value))
    kinds = tuple(f"blocks.{block}." for block in ("0.0", "1.0", "2.9", "3.1"))
    for wanted in [name for name in said if not name.startswith("blocks.") or name.startswith(kinds)]:
        disturb = lambda name, value, wanted=wanted: value * 1.5 + 0.25 if name == wanted else value  # noqa: E731
        assert not torch.equal(tower(pixels, tap=ScopedTap(disturb)), plain), wanted


@pytest.mark.parametrize(
    ("module", "attribute", "value", "first"),
    [
        ("conv_stem.conv", "bias", None, "conv_stem.conv"),
        pytest.param("blocks.1.2", "_skips", False, "blocks.1.2.out", marks=pytest.mark.slow),
        ("blocks.2.10.pw_exp.bn", "eps", 1e-5, "blocks.2.10.pw_exp.bn"),
        pytest.param("blocks.3.1.attn", "_scale", 0.125, "blocks.3.1.attn.context", marks=pytest.mark.slow),
    ],
)
def test_a_fault_is_found_at_its_step(module, attribute, value, first, gallery):
    """One module broken at a time: the right step, and at most three."""
    shown = gallery(64, 128, 2)
    candidate = VisionAne.load(path(), "float32", shown.pixels)
    setattr(candidate.tower.timm_model.get_submodule(module), attribute, value)
    judgement = shown.judge(candidate, "float32")
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.first_divergence.step == f"vision.{first}"
    assert len(judgement.introduced) <= 3


def test_symmetric_padding_is_found(gallery, monkeypatch):
    """Most frameworks' default, which shifts maps of even size: found in each strided convolution, nowhere else."""
    monkeypatch.setattr(
        "implementations.ane.vision.convolution.same_padding", lambda size, kernel, stride: (kernel // 2,) * 2
    )
    shown = gallery(64, 128, 2)
    candidate = VisionAne.load(path(), "float32", shown.pixels)
    modules = candidate.tower.timm_model.named_modules()
    strided = [name for name, module in modules if isinstance(module, Convolution) and module.stride == (2, 2)]
    judgement = shown.judge(candidate, "float32")
    assert judgement.first_divergence.step == "vision.conv_stem.conv"
    expected = {f"vision.{name}".replace("down_conv", "norm.input") for name in strided}
    assert {step.step for step in judgement.introduced} == expected


def test_parameters_are_the_checkpoints(gallery, tower):
    """By name and shape: convolutions as they are, without an axis moved."""
    theirs = gallery(64, 128, 2).load("float32")._model.model.vision_tower.state_dict()
    assert {name: x.shape for name, x in tower.state_dict().items()} == {name: x.shape for name, x in theirs.items()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("size", [(64, 128), (100, 76)])
def test_the_tower_can_be_traced(size, tower):
    """It takes and gives tensors alone; sizes are constants, and no operation is one that Core ML lacks or drops."""
    first, second = (torch.from_numpy(images(*size, 2))[index, None] for index in range(2))
    with torch.no_grad():
        traced = torch.jit.trace(tower, (first,), check_trace=False)
        assert torch.equal(traced(second), tower(second))
    nodes = list(traced.inlined_graph.nodes())
    forbidden = ("index", "gather", "scatter", "einsum", "copy_", "aten::size", "prim::If", "nonzero")
    assert not [node.kind() for node in nodes if any(word in node.kind() for word in forbidden)]
    types = [output.type() for node in nodes for output in node.outputs()]
    assert max(kind.dim() or 0 for kind in types if isinstance(kind, torch.TensorType)) == 4


@pytest.mark.parametrize("size", [(1, 1), (4, 8), (7, 5), (48, 48), (51, 63)])
def test_doubling_is_the_nearest_neighbour(size):
    """Of a map at half the resolution, odd sizes too."""
    coarse = torch.randn(2, 3, -(-size[0] // 2), -(-size[1] // 2), generator=torch.Generator().manual_seed(0))
    assert torch.equal(doubled(coarse, size), functional.interpolate(coarse, size=size, mode="nearest"))


@pytest.mark.parametrize("size", [(7, 5), (48, 50), (3, 2)])
def test_shrinking_where_sides_do_not_divide(size):
    """Linear between the centres of pixels, also where the map is smaller than what is asked for."""
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(shrunk(x, 4), functional.interpolate(x, size=(4, 4), mode="bilinear"))


@pytest.mark.parametrize("size", [(8, 12), (7, 5)])
def test_nothing_overflows_in_the_engines_arithmetic(size):
    """A magnitude of 20,000: sums of two leave the range, means, interpolations and norms do not."""
    x = torch.full((1, 64, *size), 20_000.0)
    with torch.inference_mode(), Float16Ane().running():
        torch.testing.assert_close(shrunk(x, 4), torch.full((1, 64, 4, 4), 20_000.0), rtol=2e-3, atol=0)
        torch.testing.assert_close(RMSNorm(64, 1e-6)(x), torch.ones_like(x), rtol=2e-3, atol=0)
        weights = linear(7, 4)
        assert torch.equal(weights, weights.half().float())  # constants of the program are fp16
