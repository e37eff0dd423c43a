"""The catalogue of known bugs: it is well formed, and each can be planted, listed and shown."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parity.errors import ExitCode, UsageError
from parity.placing import EVERYWHERE, require_places
from parity.site import Edit
from parity.traces.trace import Key
from parity.variant import Catalogue, Variant, find_variants
from parity.weave import weave
from reference.common.deviant import edits_of, marked
from reference.gemma3n.huggingface import Reference
from reference.gemma3n.steps.contract import ALL_STEPS
from reference.gemma3n.variants import SAMPLES, asked_by, catalogue

ROOT = Path(__file__).parents[2]

ALL = catalogue().variants

# Bugs that ports really had: each must be in the catalogue under this name.
SEEN = (
    "ple-scale-hidden", "ple-padding-unscaled", "ple-chunk-restart", "ple-missing", "altup-coefs-transposed",
    "altup-predict-not-transposed", "altup-no-plus-one", "altup-clip-at-inference", "kv-not-shared", "kv-renormed",
    "mask-no-window", "mask-bool-added", "mask-window-plus-one", "rope-bases-swapped", "rope-scaling-local",
    "attn-scale-sqrt-d", "sparsity-skipped", "sparsity-exact-topk", "norm-before-upcast", "embed-scale-unrounded",
    "norm-one-plus-weight", "norm-variance-bf16", "laurel-no-sqrt2", "embed-scale-decode", "ple-4bit",
    "ple-projection-scale", "gelu-erf", "stem-no-bias", "pad-symmetric", "pad-symmetric-exp",
    "image-transposed", "msfa-no-norm", "msfa-bilinear", "vision-fp16", "soft-norm-scale",
    "mel-mask-off-by-one", "audio-mask-ignored", "mel-fft-overdrive", "mel-log-floor", "mel-frame-plus-one",
    "sscp-layernorm", "sscp-eps", "merge-early-return", "prompt-newlines",
)  # fmt: skip

EDIT = Edit("reference.common.steps:every", "True", "False")

BUG = Variant("wrong", "toy", "a bug", "toy.step", (EDIT,))

SAME = dataclasses.replace(BUG, name="same", equivalent="one is one")


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """A terminal of one width."""
    monkeypatch.setenv("COLUMNS", "160")


def test_every_seen_bug_is_in_the_catalogue():
    names = {variant.name for variant in ALL}
    assert not [name for name in SEEN if name not in names]
    assert len(ALL) >= 120
    assert len(catalogue().of("reorderings")) >= 10


def test_the_catalogue_is_found_through_its_entry_point():
    assert find_variants("transformers").variants == ALL


@pytest.mark.slow
def test_every_variant_can_be_planted(harness):
    """Its first step is in the contract, its module in the model, its scenario and samples are there, its edits fit."""
    reference = harness.baseline("float32")
    sites = {step.site for step in ALL_STEPS}
    for variant in ALL:
        reference.vary([(variant.name, None)])
        known = reference.with_media if variant.media else reference.scenarios
        assert variant.scenario in known, variant.name
        assert len(catalogue().parts(variant)) == len(variant.media)
        edits = edits_of(reference._woven.variants)
        edited = {edit.function for edit in edits}
        with (
            weave([site for site in sites if site.function in edited], print, edits),
            marked(reference._model, reference._woven.variants),
        ):
            pass
    reference.vary([])


@pytest.mark.parametrize("variant", ALL, ids=lambda variant: variant.name)
def test_every_variant_is_described(variant):
    """In words of its own, with a name that a command line takes as it is."""
    assert variant.meaning
    assert variant.component
    assert variant.edits
    assert variant.name == variant.name.lower().strip("-")
    assert variant.name.replace("-", "").isalnum()
    assert "{" not in variant.at().first
    assert set(variant.dtypes) <= {"float32", "bfloat16", "float16"}


def test_a_variant_belongs_to_one_module(harness):
    """What is planted in one layer leaves the others alone, and the model as it was."""
    variant = catalogue().get("norm-no-gain").at()
    model = harness.baseline("float32")._model
    reference = harness.baseline("float32")
    reference.vary([(variant.name, None)])
    with reference._woven.listening(lambda step, value: value):
        assert model.get_submodule(variant.module).variants == {variant.name}
        assert sum(hasattr(module, "variants") for module in model.modules()) == 1
    reference.vary([])
    assert not any(hasattr(module, "variants") for module in model.modules())


def test_two_variants_do_not_hear_each_other(deviant, harness):
    """Of one function, in two layers: each deviates in its own."""
    candidate = deviant("norm-no-gain", "norm-one-plus-weight")
    candidate.vary([("norm-no-gain", "3"), ("norm-one-plus-weight", "7")])
    judgement = harness.judge(candidate, "float32", "one-shot")
    assert [step.step for step in judgement.introduced] == [f"text.layers.{n}.input_layernorm" for n in (3, 7)]


def test_a_variant_of_the_oracle_deviates_at_its_step_alone(harness):
    """From the oracle's exact inputs, in float64: what a diagnosis projects an error on."""
    true, variant = harness.oracle_trace("one-shot"), catalogue().get("laurel-half").at("7")
    harness.oracle.vary([(variant.name, 7)])
    wrong = harness.trace(harness.oracle, "float64", oracle=true.path, mode="lockstep")
    harness.oracle.vary([])
    assert [key.step for key, record in true.records.items() if wrong.records[key].digest != record.digest] == [
        variant.first
    ]
    key = Key("prefill", variant.first)
    np.testing.assert_allclose(wrong.tensor(key), true.tensor(key) / np.sqrt(2), rtol=1e-12)


def test_two_of_a_name_are_refused():
    with pytest.raises(UsageError, match="several variants have the same name: wrong"):
        Catalogue((BUG, BUG), "", SAMPLES, "toy")


def test_a_missing_sample_is_named():
    lost = dataclasses.replace(BUG, media=("lost.png",))
    with pytest.raises(UsageError, match=r"variant wrong needs .*lost\.png, which is not there"):
        catalogue().parts(lost)


def test_an_edit_that_no_longer_fits_is_named():
    """The installed source may change under it."""
    from parity.errors import BackendUnavailable

    stale = dataclasses.replace(BUG, edits=(dataclasses.replace(EDIT, old="False"),))
    with pytest.raises(BackendUnavailable, match="the source changed"), weave((), print, edits_of([stale])):
        pass


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ([("mask-no-windo", "")], "unknown variant 'mask-no-windo'; the nearest: mask-no-window"),
        ([("mask-no-window", "3")], "variant mask-no-window can be in one place alone"),
        ([("sparsity-skipped", "12")], "the model has no step text.layers.12.mlp.gate_sparse"),
        ([("sparsity-skipped", "toes")], "the model has no step text.layers.toes.mlp.gate_sparse"),
        ([("vision-relu", "blocks.0.0.bn1")], "vision.blocks.0.0.bn1 is computed by other lines"),
        ([("sparsity-skipped", "99")], "the model has no step text.layers.99.mlp.gate_sparse"),
    ],
)
def test_what_cannot_be_planted_is_refused(variants, said, harness):
    with pytest.raises(UsageError, match=said):
        harness.baseline("float32").vary(variants)


def test_list_says_where_each_is_found(parity):
    code, out, _ = parity("variants", "list")
    assert code == ExitCode.PARITY
    lines = out.splitlines()
    assert len(lines) == len(ALL) + 2
    line = next(line for line in lines if line.startswith("mask-no-window "))
    assert line.split() == ["mask-no-window", "masks", "text.mask.sliding_attention", "long"]
    assert parity("variants", "list", "--component", "Laurel")[1].splitlines()[1].startswith("laurel-activation")


def test_show_says_everything(parity):
    code, out, _ = parity("variants", "show", "laurel-no-sqrt2")
    assert code == ExitCode.PARITY
    for text in ("transformers 39059", "text.layers.3.attn_laurel", "at=3", "/ math.sqrt(2)", "Laurel"):
        assert text in out
    assert "the norm absorbs any factor" in parity("variants", "show", "soft-norm-scale")[1]


def test_the_list_starts_without_a_framework():
    """Torch, transformers and timm are imported by the worker alone."""
    code = (
        "import sys; from reference.gemma3n.variants import catalogue; catalogue(); import parity.cli.variants;"
        "print(*{'torch', 'transformers', 'timm'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def test_a_variant_in_every_place(harness):
    """Each layer that computes its step by the same lines; several at once; one that can be in one place alone."""
    contract = harness.oracle.contract()
    std, dense = (
        require_places(catalogue().get(name), EVERYWHERE, contract) for name in ("sparsity-sample-std", "mlp-gate-silu")
    )
    assert [each.first for each in std] == [f"text.layers.{layer}.mlp.gate_std" for layer in range(10)]
    assert len(dense) == len({each.module for each in dense}) == 25
    alone = catalogue().get("ple-padding-zero")
    assert require_places(alone, EVERYWHERE, contract) == (alone.at(),)
    assert require_places(catalogue().get("mlp-gate-silu"), "7", contract)[0].first == "text.layers.7.mlp.activations"
    with pytest.raises(UsageError, match="one place alone"):
        require_places(alone, "7", contract)
    options = {"variant": "ple-padding-zero+mlp-gate-silu", "at": EVERYWHERE}
    assert asked_by(options) == [("ple-padding-zero", "*"), ("mlp-gate-silu", "*")]
    Reference.check(options)
