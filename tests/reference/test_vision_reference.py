"""The reference's vision path: a complete contract, a float64 oracle, planted bugs found at their step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from parity.errors import ExitCode
from parity.judging.verdict import Status
from parity.tap import ScopedTap
from parity.weave import locate
from reference.gemma3n.steps.vision import VISION_STEPS
from reference.gemma3n.variants import catalogue
from tests.marks import quick
from tests.reference.test_reference import _Float32Watch
from tests.vision_parties import Gallery, VisionReference, images

# Of every part of the tower; tests/variants/test_variants.py scores a tenth of the whole catalogue.
BUGS = (
    "gelu-erf", "stem-no-bias", "pad-symmetric", "pad-symmetric-exp", "pad-symmetric-keys", "image-transposed",
    "channels-reversed", "msfa-no-norm", "msfa-bilinear", "msfa-order", "msfa-max-pool", "vision-norm-epsilon",
    "vision-attn-unscaled", "vision-heads-swapped", "no-layer-scale", "no-skip", "soft-tokens-by-column",
)  # fmt: skip
QUICK = (
    "gelu-erf",
    "pad-symmetric-exp",
    "image-transposed",
    "msfa-no-norm",
    "vision-norm-epsilon",
    "soft-tokens-by-column",
)


def loaded(harness, dtype):
    """The embedded checkpoint in some dtype, loaded once a session."""
    return harness.oracle if dtype == "float64" else harness.baseline(dtype)


@pytest.fixture(scope="module")
def gallery(harness, tmp_path_factory):
    """An asymmetric image of 128 x 128: maps of 8 x 8 are pooled to 4 x 4."""
    return Gallery(
        tmp_path_factory.mktemp("vision") / "square", lambda dtype: loaded(harness, dtype), images(128, 128, 1)
    )


@pytest.fixture
def deviant(gallery):
    """Makes the reference with known bugs."""

    def make(*names):
        variants = tuple(catalogue().get(name).at() for name in names)
        return VisionReference(gallery.load("float32"), gallery.pixels, variants)

    return make


def record(party):
    """Names and shapes of what a party says, in order."""
    said = []

    def receive(name, value):
        said.append((name, tuple(value.shape)))
        return value

    party.forward(np.zeros((1, 1), np.int64), tap=ScopedTap(receive))
    return said


def test_every_step_is_documented():
    """Each step says what it is, and the installed source has its site."""
    assert all(step.meaning and step.axes for step in VISION_STEPS)
    assert not [str(step.site) for step in VISION_STEPS if not locate(step.site)]


@pytest.mark.parametrize("size", [(128, 128), (64, 64), (96, 160), (100, 76)])
def test_every_step_is_emitted_once_in_the_contracts_order(size, harness):
    """Pooled maps, maps that fit, maps that are interpolated, maps of odd size: the contract's steps, none else."""
    party = VisionReference(loaded(harness, "float32"), images(*size, 1))
    steps = tuple(party.contract())
    said = record(party)
    assert [name for name, _ in said] == [step.name for step in steps]
    assert all(len(shape) == len(step.axes) for (_, shape), step in zip(said, steps, strict=True))


def test_steps_of_a_block_of_each_kind(harness):
    """Edge residual, inverted residual, attention: 6 to 13 steps a block."""
    names = [step.name for step in VisionReference(loaded(harness, "float32"), images(64, 64)).contract()]
    of = lambda block: sum(name.startswith(f"vision.blocks.{block}.") for name in names)  # noqa: E731
    assert (of("0.0"), of("1.0"), of("1.1"), of("2.8"), of("2.9"), of("3.1")) == (6, 12, 9, 7, 12, 8)


def test_no_float32_tensor_survives_in_the_tower(harness):
    """Parameters and every intermediate of the oracle are float64."""
    party = VisionReference(loaded(harness, "float64"), images(64, 64, 1))
    tower = party._model.model.vision_tower
    assert {tensor.dtype for tensor in [*tower.parameters(), *tower.buffers()]} == {torch.float64}
    with _Float32Watch() as watch:
        party.forward(np.zeros((1, 1), np.int64))
    assert not watch.found


@pytest.mark.parametrize("name", quick(BUGS, *QUICK))
def test_deviation_is_found_at_its_step(name, gallery, deviant):
    """The right first step, introduced, and at most 3 steps flagged in lockstep."""
    judgement = gallery.judge(deviant(name), "float32")
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.first_divergence.step == catalogue().get(name).at().first
    assert judgement.first_divergence.status is Status.INTRODUCED
    assert len(judgement.introduced) <= 3


def test_independent_faults_are_all_found(gallery, deviant):
    """One lockstep run finds three bugs in three places."""
    names = ("stem-no-bias", "msfa-bilinear", "no-layer-scale")
    found = {step.step for step in gallery.judge(deviant(*names), "float32").introduced}
    assert {catalogue().get(name).at().first for name in names} <= found


def test_the_reference_is_at_parity_with_itself(gallery):
    """The same tower in the same arithmetic errs exactly its floor."""
    judgement = gallery.judge(VisionReference(gallery.load("float32"), gallery.pixels), "float32")
    assert judgement.exit_code is ExitCode.PARITY
    assert judgement.worst.ratio <= 1
