"""The ANE-style model in every scenario against the reference, and faults planted in it."""

import functools

import pytest

pytest.importorskip("torch")

from implementations.ane import Backend, masks  # behind importorskip
from implementations.ane.shapes import Shapes
from parity.errors import ExitCode
from reference.gemma3n.scenarios import MEANINGS
from tests.harness import require_parity
from tests.marks import every_change

LONG = "Hello world, what do you see? " * 9
"""Two prefill calls, the second of them partial."""


@pytest.fixture(scope="module")
def ane(harness):
    """The model, loaded once for each arithmetic and set of options."""
    return functools.cache(functools.partial(Backend.load, harness.checkpoint))


def marks(scenario):
    """What a newcomer's tests leave out, and what those of each change do."""
    if scenario in ("cached", "decode", "warm", "grown"):  # a conversation (`generate`) does what these do
        return pytest.mark.exhaustive
    return () if scenario == "one-shot" else pytest.mark.slow


@pytest.mark.parametrize("scenario", [pytest.param(name, marks=marks(name)) for name in MEANINGS])
def test_parity(scenario, ane, harness):
    """Every step covered, none introduced, worst ratio at most 4 floors, exit 0."""
    require_parity(harness.judge(ane("float32"), "float32", scenario))


@pytest.mark.slow
@pytest.mark.parametrize("scenario", every_change(["one-shot", "cached"], "cached"))
def test_a_chunk_of_several_calls(scenario, ane, harness):
    """A prompt longer than the prefill batch: steps are put together from parts, and lockstep cuts the oracle's."""
    candidate = ane("float32")
    judgement = harness.judge(candidate, "float32", scenario, LONG)
    assert len(list(candidate._program.shapes.calls(0, len(judgement.tokens)))) == 2
    require_parity(judgement)


@pytest.mark.exhaustive
@pytest.mark.parametrize("scenario", ["generate", "grown", "faint"])
def test_the_path_that_users_run_in_the_engines_arithmetic(scenario, ane, harness):
    require_parity(harness.judge(ane("float16-ane"), "float16-ane", scenario))


@pytest.mark.slow
def test_parity_with_a_scaled_residual_stream(ane, harness):
    """Alpha is taken out of what is recorded and put into what is injected; 0.125 costs no rounding."""
    require_parity(harness.judge(ane("float32", alpha="0.125", context="64"), "float32", "one-shot"))


@pytest.mark.slow
@pytest.mark.parametrize("alpha", ["1", "0.125"])
def test_parity_in_the_engines_arithmetic(alpha, ane, harness):
    require_parity(harness.judge(ane("float16-ane", alpha=alpha, context="64"), "float16-ane", "one-shot"))


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        (("layers.3.laurel.post_laurel_norm", "eps", 1e-5), "text.layers.3.laurel.normed"),
        pytest.param(("layers.21.self_attn", "_donor", 17), "text.layers.21.attn.keys", marks=pytest.mark.slow),
        pytest.param(("layers.0.mlp", "_quantile", 1.6), "text.layers.0.mlp.cutoff", marks=pytest.mark.slow),
        (("altup_unembed_projections", "floor", 10.0), "text.altup.unembed.1.magnitude"),
    ],
)
def test_a_fault_is_found_at_its_step(fault, first, ane, harness, monkeypatch):
    """A wrong epsilon in one norm, a wrong donor, a wrong quantile, a wrong least magnitude."""
    module, attribute, value = fault
    candidate = ane("float32")
    monkeypatch.setattr(candidate._program.model.decoder.get_submodule(module), attribute, value)
    judgement = harness.judge(candidate, "float32", "one-shot")
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.first_divergence.step == first
    assert len(judgement.introduced) <= 3


@pytest.mark.slow
def test_a_ring_that_is_too_short_is_found(harness, monkeypatch):
    """Keys that are still seen are overwritten: the keys say so, not a later step."""
    monkeypatch.setattr(Shapes, "slots", lambda self, kind: 24 if kind == "sliding_attention" else self.context)
    candidate = Backend.load(harness.checkpoint, "float32", context="64", batch="16")
    judgement = harness.judge(candidate, "float32", "long")
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.first_divergence.step == "text.layers.0.attn.keys"


@pytest.mark.slow
def test_a_window_that_is_too_wide_is_found(ane, harness, monkeypatch):
    right = masks.visible
    wide = lambda queries, keys, *, window: right(queries, keys, window=window and window + 1)  # noqa: E731
    monkeypatch.setattr("implementations.ane.host.visible", wide)
    judgement = harness.judge(ane("float32"), "float32", "long")
    assert judgement.first_divergence.step == "text.mask.sliding_attention"
