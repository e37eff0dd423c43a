"""The vision encoder that is written for export: every step against the reference, and its graph against itself."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from implementations.gemma3n.mobilenet import STAGES  # noqa: E402
from implementations.onnx.operations.layers import GroupedNorm  # noqa: E402
from implementations.onnx.vision.layers import Convolution  # noqa: E402
from parity.errors import ExitCode  # noqa: E402
from parity.tap import ScopedTap  # noqa: E402
from parity.weights.stored import stored  # noqa: E402
from reference.tiny import path  # noqa: E402
from tests.harness import require_parity  # noqa: E402
from tests.marks import quick  # noqa: E402
from tests.onnx_towers import (  # noqa: E402
    PUBLISHED,
    SEEN,
    Encoder,
    Session,
    Tapped,
    distance,
    export,
    expose,
    idle,
    vision,
)
from tests.vision_parties import Gallery, images  # noqa: E402

NOISE = 4e-6
"""Of a graph's features to torch's; measured: up to 2.2e-6."""
FAULTS = {
    "conv_stem.conv": ("conv_stem.conv", "bias", None),
    "blocks.1.2.out": ("blocks.1.2", "_skips", False),
    "blocks.2.10.pw_exp.bn": ("blocks.2.10.pw_exp.bn", "_eps", 1e-5),
    "blocks.3.1.attn.context": ("blocks.3.1.attn", "_scale", 0.125),
}
"""A module, and what is wrong in it, by the step where that shows."""


@pytest.fixture(scope="module")
def gallery(harness, tmp_path_factory):
    """Makes and keeps the gallery of some images."""
    made, folder = {}, tmp_path_factory.mktemp("onnx")
    load = lambda dtype: harness.oracle if dtype == "float64" else harness.baseline(dtype)  # noqa: E731

    def make(*size):
        if size not in made:
            made[size] = Gallery(folder / f"gallery-{len(made)}", load, images(*size))
        return made[size]

    return make


@pytest.fixture(scope="module")
def encoder():
    """The embedded checkpoint's."""
    return vision(path())


@pytest.mark.parametrize("size", quick([(64, 128, 2), (128, 192, 1), (64, 64, 1), (100, 76, 1)], (64, 128, 2)))
def test_every_step_is_at_parity(size, gallery, encoder):
    """Two images and one, pooled maps; maps that fit; odd maps, padded differently by side, and interpolated."""
    shown = gallery(*size)
    require_parity(shown.judge(Encoder(encoder, shown.pixels), "float32"))


@torch.inference_mode()
def test_steps_come_in_the_contracts_order_and_change_nothing(gallery, encoder):
    shown, said = gallery(64, 128, 2), []
    pixels = torch.from_numpy(shown.pixels)
    heard = encoder(pixels, tap=ScopedTap(lambda name, value: said.append(name) or value))
    assert said == [step.name for step in shown.oracle.contract if step.name.startswith(("vision.", "embed_vision."))]
    assert torch.equal(heard, encoder(pixels))
    assert heard.shape == (2, 16, 128)


def test_every_answer_of_a_tap_is_used(encoder):
    assert idle(encoder, torch.from_numpy(images(64, 64, 1))) == []


@pytest.mark.parametrize("first", quick(FAULTS, "conv_stem.conv"))
def test_a_fault_is_found_at_its_step(first, gallery, encoder):
    """One module broken at a time: the right step, and at most three."""
    module, attribute, value = FAULTS[first]
    shown, broken = gallery(64, 128, 2), copy.deepcopy(encoder)
    setattr(broken.vision_tower.timm_model.get_submodule(module), attribute, value)
    judgement = shown.judge(Encoder(broken, shown.pixels), "float32")
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.first_divergence.step == f"vision.{first}"
    assert len(judgement.introduced) <= 3


def test_parameters_are_the_checkpoints(encoder):
    """All of the tower's and of the soft path's, by their names and in their shapes; no other."""
    found = {f"model.{name}": tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    soft = ("model.embed_vision.soft_embedding_norm", "model.embed_vision.embedding_projection")
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in stored(path(), PUBLISHED).items()
        if name.startswith(("model.vision_tower.", *soft))
    }
    assert found == expected
    assert len(encoder.vision_tower.timm_model.blocks) == len(STAGES)


@torch.inference_mode()
def test_a_norm_along_any_axis():
    """A gain for each place of the axis, and of zeros nothing but zeros."""
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    for axis in (-1, -3):
        norm = GroupedNorm(x.shape[axis], 0.01, axis=axis)
        norm.weight.copy_(torch.arange(1, x.shape[axis] + 1))
        moved, gain = x.movedim(axis, -1), torch.arange(1, x.shape[axis] + 1)
        expected = moved * gain / (moved.square().mean(-1, keepdim=True) + 0.01) ** 0.5
        torch.testing.assert_close(norm(x), expected.movedim(-1, axis))
        assert not norm(torch.zeros_like(x)).any()


@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (9, 5, 2), (8, 5, 1), (5, 1, 1)])
@torch.inference_mode()
def test_a_convolution_is_padded_behind_more_than_before(size, kernel, stride):
    """Row r of a map is the sum of what stands under its kernel, which begins before the first row by half."""
    convolution = Convolution(1, 1, kernel, stride=stride)
    convolution.weight.fill_(1.0)
    rows = -(-size // stride)
    before = max(0, (rows - 1) * stride + kernel - size) // 2
    x = torch.arange(1.0, size + 1).reshape(1, 1, size, 1).expand(-1, -1, -1, 3)
    starts = [row * stride - before for row in range(rows)]
    column = [sum(at + 1 for at in range(start, start + kernel) if 0 <= at < size) for start in starts]
    found = convolution(x)[0, 0]
    assert found.shape == (rows, -(-3 // stride))
    under = found[:, 0] / (found[0, 0] / column[0])
    assert under.tolist() == pytest.approx(column)


@pytest.mark.exhaustive  # an export for each size
@pytest.mark.parametrize("size", [(192, 192), (100, 76)])
@torch.inference_mode()
def test_a_graph_sees_what_torch_sees(size, encoder):
    """One image, two and three, of a graph that was made with two; odd maps are interpolated in it."""
    session = Session(export(encoder, SEEN, torch.from_numpy(images(*size))))
    for count in (1, 2, 3):
        pixels = torch.from_numpy(images(*size, count))
        (found,) = session.run(pixels).values()
        assert distance(found, encoder(pixels).numpy()) < NOISE


@pytest.mark.exhaustive  # test_onnx_media has the graphs that ship, with all of their steps
@torch.inference_mode()
def test_every_tap_is_a_node_of_the_graph(encoder):
    """All of the steps are in it, in order, and have torch's values."""
    pixels, said = torch.from_numpy(images(64, 128)), {}
    encoder(pixels, tap=ScopedTap(said.setdefault))
    model = export(Tapped(encoder), SEEN, pixels)
    tensors = expose(model.graph)
    assert list(tensors) == list(said)
    found = Session(model).run(pixels)
    assert max(distance(found[tensors[name]], value.numpy()) for name, value in said.items()) < 2 * NOISE
