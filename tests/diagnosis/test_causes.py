"""Known bugs planted in the reference and in our models are named, wherever they are; what is right gets no name."""

from __future__ import annotations

import dataclasses

import pytest

from parity.diagnosis.diagnose import diagnose
from parity.diagnosis.evidence import missing_in
from parity.diagnosis.matched import Filter
from parity.discovery import find
from parity.judging.judge import judge
from parity.tap import ScopedTap
from parity.traces.runs import Runs
from parity.variant import sample
from reference.gemma3n.huggingface import Reference
from reference.gemma3n.variants import catalogue
from reference.gemma3n.variants.writing import LAYER
from tests.harness import PROMPT
from tests.plant import plant_in

SHORT = "one-shot"


@pytest.fixture(scope="module")
def causes_of(harness):
    """Diagnoses a loaded candidate; leaves variants out of the catalogue."""

    def run(candidate, oracle=None, dtype="float32", without=()):
        base = harness.runs(harness.baseline(dtype), dtype, oracle) if oracle else harness.baseline_runs(dtype, SHORT)
        oracle = oracle or harness.oracle_trace(SHORT)
        lockstep = harness.trace(candidate, dtype, oracle=oracle.path, mode="lockstep")
        judgement = judge(oracle=oracle, baseline=base, candidate=Runs(None, lockstep))
        known = tuple(each for each in catalogue().variants if each.name not in without)
        variants = Filter(dataclasses.replace(catalogue(), variants=known), plant_in(harness.oracle))
        return judgement, diagnose(judgement, oracle=oracle, lockstep=lockstep, variants=variants)

    return run


PLANTED = (
    "embed-scale-missing", "ple-no-sqrt2", "altup-no-plus-one", "laurel-no-sqrt2", "norm-one-plus-weight",
    "rope-interleaved", "attn-scale-sqrt-d", "sparsity-skipped", "mlp-gate-silu", "soft-cap-missing",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_a_known_bug_is_named(name, deviant, causes_of):
    _, found = causes_of(deviant(name))
    first = found[0].causes[0]
    assert name in (first.name, *first.alike)
    assert first.alpha == pytest.approx(1, abs=1e-3)
    assert first.explained > 0.999


@pytest.mark.slow
def test_a_phase_without_a_fault_is_evidence_too(harness, deviant, causes_of):
    """In decode alone both are the same; the prefill, which is right, tells them apart."""
    decode = harness.oracle.scenario("decode", PROMPT)
    oracle = harness.trace(harness.oracle, "float64", scenario=dataclasses.replace(decode, chunks=decode.chunks[:2]))
    _, found = causes_of(deviant("embed-scale-decode"), oracle)
    assert (found[0].causes[0].name, found[0].causes[0].alike) == ("embed-scale-decode", ())
    assert "prefill" not in found[0].phases


@pytest.mark.slow
def test_bugs_in_different_layers_are_all_named(deviant, causes_of):
    candidate = deviant("norm-no-gain", "laurel-half")
    candidate.vary([("norm-no-gain", "3"), ("laurel-half", "9"), ("norm-one-plus-weight", "7")])
    _, found = causes_of(candidate)
    assert [(said.step, said.causes[0].name) for said in found] == [
        ("text.layers.3.input_layernorm", "norm-no-gain"),
        ("text.layers.7.input_layernorm", "norm-one-plus-weight"),
        ("text.layers.9.attn_laurel", "laurel-half"),
    ]


LAYERED = [
    each
    for each in catalogue().variants
    if each.place == LAYER and each.scenario == SHORT and not each.media and each.shows_in("float32")
]
"""Bugs of text layers that can be in any but the shared ones."""
SOME = sample(LAYERED, 6, 13)
"""Of each part of a layer about as many as it has bugs."""


def naming(said, name):
    """Whether a bug is named, be it with others that would look the same."""
    return any(name in (cause.name, *cause.alike) for cause in said.causes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "pair", list(zip(SOME[::2], SOME[1::2], strict=False)), ids=lambda pair: f"{pair[0].name}+{pair[1].name}"
)
def test_two_bugs_in_different_layers_are_both_named(pair, deviant, causes_of):
    """In one run: each at its step, whatever the other does."""
    first, second = pair[0].at("2"), pair[1].at("6")
    candidate = deviant(first.name, second.name)
    candidate.vary([(first.name, "2"), (second.name, "6")])
    judgement, found = causes_of(candidate)
    said = {each.step: each for each in found}
    assert judgement.first_divergence.step == first.first
    for variant in (first, second):
        assert naming(said[variant.first], variant.name), said[variant.first]


@pytest.mark.slow
@pytest.mark.parametrize("variant", SOME, ids=lambda variant: variant.name)
def test_an_unknown_bug_is_no_other_bug(variant, deviant, causes_of):
    """Without it, and what is the same in this checkpoint, the step is still right; a generic cause may be named."""
    _, (full, *_) = causes_of(deviant(variant.name))
    alike = {name for cause in full.causes for name in (cause.name, *cause.alike)}
    judgement, found = causes_of(deviant(variant.name), without=alike | {variant.name})
    assert judgement.first_divergence.step == variant.at().first
    assert not [cause.name for said in found for cause in said.causes if cause.variant]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["laurel-half", "norm-one-plus-weight", "mlp-gate-silu"])
def test_a_known_bug_is_named_in_bfloat16(name, harness, causes_of):
    candidate = harness.baseline("bfloat16")
    harness.baseline_runs("bfloat16", SHORT)  # before the same model has the bug
    candidate.vary([(name, "")])
    try:
        _, found = causes_of(candidate, dtype="bfloat16")
    finally:
        candidate.vary([])
    assert found[0].causes[0].name == name


@pytest.mark.slow
def test_what_is_right_gets_no_diagnosis(harness, deviant, causes_of):
    """The MLX model and a reordering; no step of theirs that is taken for wrong is explained either."""
    for candidate in (find("mlx").load(harness.checkpoint, "float32"), deviant("norm-divided")):
        judgement, found = causes_of(candidate)
        assert not judgement.introduced
        assert found == ()


@pytest.mark.slow
def test_bugs_of_the_mlx_model_are_named(harness, causes_of, monkeypatch):
    """Two layers with another divisor each: both at their steps, in one run."""
    candidate = find("mlx").load(harness.checkpoint, "float32")
    layers = candidate._model.model.language_model.layers
    monkeypatch.setattr(layers[3], "_sqrt2", layers[3]._sqrt2 * 0 + 1)
    monkeypatch.setattr(layers[5], "_sqrt2", layers[5]._sqrt2 * 0 + 2)
    _, found = causes_of(candidate)
    assert [(said.step, said.causes[0].name) for said in found] == [
        ("text.layers.3.attn_laurel", "laurel-no-sqrt2"),
        ("text.layers.5.attn_laurel", "laurel-half"),
    ]


class Deaf(Reference):
    """The reference with a tap that some steps do not reach."""

    unheard: frozenset[str] = frozenset()

    def forward(self, token_ids, *, prompts=(), tap=None):
        """Leave those steps as they are."""
        heard = ScopedTap(lambda name, value: value if name in self.unheard else tap(name, value))
        return super().forward(token_ids, prompts=prompts, tap=heard)


HIDDEN = "text.layers.3.attn_laurel"
SHOWN = "text.layers.3.pre_feedforward_layernorm"


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("attn.o_proj", "attn_gated", "laurel.normed")], ids=["one", "several"])
def test_a_bug_of_a_step_that_is_not_emitted_is_named_where_it_shows(more, harness):
    """The known bugs run as the candidate does: with their own values where it has its own."""
    oracle = harness.oracle_trace(SHORT)
    candidate = Deaf(harness.baseline("float32")._model, harness.checkpoint, "float32")
    candidate.unheard = frozenset({HIDDEN, *(f"text.layers.3.{step}" for step in more)})
    candidate.vary([("laurel-missing", "")])
    lockstep = harness.trace(candidate, "float32", oracle=oracle.path, mode="lockstep")
    judgement = judge(oracle=oracle, baseline=harness.baseline_runs("float32", SHORT), candidate=Runs(None, lockstep))
    assert judgement.introduced[0].step == SHOWN
    missing = missing_in(oracle, lockstep)
    assert missing == candidate.unheard
    variants = Filter(catalogue(), plant_in(harness.oracle), missing=missing)
    found = diagnose(judgement, oracle=oracle, lockstep=lockstep, variants=variants)
    assert (found[0].step, found[0].causes[0].name) == (SHOWN, "laurel-missing")


@pytest.mark.slow
def test_a_norm_of_any_kind_is_named(deviant, causes_of):
    """A bug that the catalogue has in one norm, in others: of queries, of the router, of the end."""
    candidate = deviant("norm-mean-subtracted")
    places = ("text.layers.5.attn.q_norm", "text.layers.8.post_per_layer_input_norm", "text.norm")
    candidate.vary([("norm-mean-subtracted", place) for place in places])
    judgement, found = causes_of(candidate)
    assert [step.step for step in judgement.introduced] == list(places)
    assert [(said.step, said.causes[0].name) for said in found] == [(place, "norm-mean-subtracted") for place in places]
