"""The reference's audio path: its contract is complete, its oracle true, and wrong lines are found at their step."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from parity.judging.judge import judge  # noqa: E402  # behind importorskip
from parity.judging.verdict import Status  # noqa: E402
from parity.tap import ScopedTap  # noqa: E402
from parity.weave import locate  # noqa: E402
from reference.gemma3n.steps.audio import AUDIO_STEPS, audio_steps  # noqa: E402
from reference.gemma3n.variants import catalogue  # noqa: E402
from tests.audio_parties import SCENARIO, Audio, Clips  # noqa: E402
from tests.marks import quick  # noqa: E402
from tests.reference.test_reference import _Float32Watch  # noqa: E402

CLIPS = Clips.of(150, 61)
# Of every part of the tower; tests/variants/test_variants.py scores a tenth of the whole catalogue.
BUGS = (
    "audio-mask-shifted", "audio-mask-ignored", "sscp-layernorm", "sscp-eps", "sscp-padding-symmetric",
    "sscp-channels-outside", "mask-not-subsampled", "residual-weight-one", "per-dim-scale-dropped",
    "q-scale-without-softplus", "softcap-dropped", "sines-interleaved", "distances-ascending",
    "relative-shift-off-by-one", "light-convolution-unmasked", "light-convolution-symmetric", "glu-halves-swapped",
    "reduction-offset", "output-unmasked", "soft-padding-wrong-id",
)  # fmt: skip
QUICK = (
    "audio-mask-shifted",
    "sscp-eps",
    "softcap-dropped",
    "distances-ascending",
    "light-convolution-symmetric",
    "reduction-offset",
)


@pytest.fixture(scope="module")
def oracle(harness):
    """The audio path in float64."""
    return Audio(harness.oracle._model, "float64", CLIPS)


@pytest.fixture(scope="module")
def truth(harness, oracle):
    """The oracle's trace and the floors."""
    trace = harness.trace(oracle, "float64", scenario=SCENARIO)
    baseline = Audio(harness.baseline("float32")._model, "float32", CLIPS)
    return trace, harness.runs(baseline, "float32", trace)


@pytest.fixture
def deviant(harness):
    """Makes the float32 reference with known bugs."""

    def make(*names):
        variants = tuple(catalogue().get(name).at() for name in names)
        return Audio(harness.baseline("float32")._model, "float32", CLIPS, variants)

    return make


def heard(party):
    """Names, in order, and copies of all values that a party emits."""
    values = []
    contract = party.contract()

    def receive(name, value):
        values.append((name, np.array(party.tensors.to_numpy(value, contract.get(name)))))
        return value

    party.forward(None, tap=ScopedTap(receive))
    return values


def test_every_step_is_emitted_once_in_the_contracts_order(oracle):
    """And has as many axes as the contract says, of the sizes that other steps have."""
    steps, values = list(oracle.contract()), heard(oracle)
    assert [name for name, _ in values] == [step.name for step in steps]
    sizes = {"clip": 2, "head": 4, "query": 12, "key": 24, "distance": 13, "one": 1, "soft_token": 32}
    for step, (_, value) in zip(steps, values, strict=True):
        assert value.ndim == len(step.axes), step.name
        for axis, size in zip(step.axes, value.shape, strict=True):
            assert size == sizes.get(axis, size), (step.name, axis)


def test_every_step_is_documented(oracle):
    assert all(step.meaning and step.source and not {"{", "}"} & set(step.name) for step in oracle.contract())
    assert all(locate(step.site) for step in AUDIO_STEPS)
    assert {step.needs for step in audio_steps(oracle._model.model)} == {"audio"}


def test_a_tower_without_reduction_has_no_reduced_frames(oracle):
    tower = oracle._model.model.audio_tower
    factor, tower.config.conf_reduction_factor = tower.config.conf_reduction_factor, 1
    try:
        names = [step.name for step in audio_steps(oracle._model.model)]
    finally:
        tower.config.conf_reduction_factor = factor
    assert "audio.reduced" not in names
    assert "audio.out" in names


def test_no_float32_survives_in_the_oracle(oracle):
    """Neither in parameters and buffers nor in any intermediate value."""
    tower = oracle._model.model.audio_tower
    tensors = [*tower.parameters(), *tower.buffers()]
    assert {tensor.dtype for tensor in tensors if tensor.is_floating_point()} == {torch.float64}
    mel = Clips(CLIPS.mel.astype(np.float64), CLIPS.mask)
    with _Float32Watch() as watch:
        Audio(oracle._model, "float64", mel).forward(None)
    assert not watch.found


def test_oracle_buffers_are_exact(oracle):
    """Made in float64 at load, not widened from float32."""
    attention = oracle._model.model.audio_tower.conformer[0].attention.attn
    timescales = attention.relative_position_embedding.inv_timescales
    np.testing.assert_allclose(timescales.flatten().numpy(), 1e-4 ** (np.arange(32) / 31), rtol=1e-14)
    assert attention.q_scale.item() == pytest.approx(16**-0.5 / np.log(2), rel=1e-15)
    assert attention.softcap.item() == 50.0


def test_recording_does_not_change_the_soft_tokens(oracle):
    """Bit-identical with and without taps."""
    soft = []
    embed = oracle._model.model.embed_audio
    hook = embed.register_forward_hook(lambda module, given, result: soft.append(result.clone()))
    try:
        oracle.forward(None)
        heard(oracle)
    finally:
        hook.remove()
    half = len(soft) // 2
    assert half
    assert all(torch.equal(left, right) for left, right in zip(soft[:half], soft[half:], strict=True))


def test_masks_are_true_where_there_is_sound(oracle):
    """The tower's own are the negation; both ways are translated."""
    values = dict(heard(oracle))
    np.testing.assert_array_equal(values["audio.mask"], CLIPS.mask)
    np.testing.assert_array_equal(values["audio.subsampled_mask"], CLIPS.mask[:, ::4])
    for name, shape in (("audio.mask", (2, 150)), ("audio.conformer.0.attention.attn.mask", (2, 1, 4, 12, 24))):
        like = torch.zeros(shape, dtype=torch.bool)
        step = oracle.contract().get(name)
        there = oracle.tensors.from_numpy(values[name], like, step)
        assert there.shape == like.shape
        np.testing.assert_array_equal(oracle.tensors.to_numpy(there, step), values[name])
        assert oracle.tensors.fits(like, values[name].shape, step)


@pytest.mark.parametrize("name", quick(BUGS, *QUICK))
def test_deviation_is_found_at_its_step(name, harness, truth, deviant):
    """The right first step, and at most 3 steps flagged in lockstep."""
    trace, baseline = truth
    runs = harness.runs(deviant(name), "float32", trace)
    judgement = judge(oracle=trace, baseline=baseline, candidate=runs)
    assert judgement.first_divergence.step == catalogue().get(name).at().first
    assert judgement.first_divergence.status is Status.INTRODUCED
    assert len(judgement.introduced) <= 3


def test_several_deviations_are_all_found(harness, truth, deviant):
    """One lockstep run finds every independent fault."""
    trace, baseline = truth
    chosen = ("sscp-padding-symmetric", "softcap-dropped", "glu-halves-swapped")
    runs = harness.runs(deviant(*chosen), "float32", trace)
    judgement = judge(oracle=trace, baseline=baseline, candidate=runs)
    assert [step.step for step in judgement.introduced] == [catalogue().get(name).at().first for name in chosen]


def test_the_baseline_is_at_parity_with_itself(truth):
    trace, baseline = truth
    judgement = judge(oracle=trace, baseline=baseline, candidate=dataclasses.replace(baseline))
    assert judgement.first_divergence is None
    assert not judgement.missing
