"""The catalogue of known bugs: it is well formed, a tenth of it is found as promised, and a broken promise is seen."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parity.checkpoint import find_checkpoint
from parity.diagnosis.together import Remembered
from parity.errors import ExitCode, UsageError
from parity.judging.verdict import Status
from parity.report.variants import as_json, markdown, print_scores, summary
from parity.running.progress import Silent
from parity.site import Edit
from parity.traces.trace import Key
from parity.variant import Catalogue, Variant, find_variants, sample
from parity.variants import scoring
from parity.variants.planting import Nursery, cases
from parity.variants.scorer import Scorer
from parity.variants.scoring import Score, Totals
from parity.weave import weave
from reference.common.deviant import edits_of, marked
from reference.gemma3n.huggingface import Reference
from reference.gemma3n.steps.contract import ALL_STEPS
from reference.gemma3n.variants import PROMPT, SAMPLES, catalogue
from tests.deviations import TAPPED
from tests.near import bring_near
from tests.plant import plant_in

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

PAGE_COMMAND = "parity variants score --dtype float32,bfloat16 --markdown docs/variants-score.md"

INHERITED = {"mask-padding-ignored"}
"""Found behind their step alone: what a mask says of padded keys is left out of the judgement."""

UNNAMED = {"vision-fp16"}
"""A tower in float16 is said to be rounded to float16."""

EDIT = Edit("reference.common.steps:every", "True", "False")
BUG = Variant("wrong", "toy", "a bug", "toy.step", (EDIT,))
SAME = dataclasses.replace(BUG, name="same", equivalent="one is one")
FOUND = Score(BUG, "float32", flagged=True, first="toy.step", status="introduced", steps=1, named="wrong", ratio=100.0)
PASSED = Score(SAME, "float32", flagged=False)


def totals(*scores, dtype="float32"):
    """The totals of a few scores among 99 good ones."""
    bugs = [dataclasses.replace(BUG, name=f"good-{n}") for n in range(99)]
    good = [dataclasses.replace(FOUND, variant=bug, named=bug.name) for bug in bugs]
    return Totals((*good, PASSED, *scores), dtype)


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


@pytest.fixture(scope="module")
def scored(harness):
    """The scores of a stratified tenth, one model for all: of the ten the one that needs the fewest scenarios."""
    right, plant, scores = harness.baseline("float32"), Remembered(plant_in(harness.oracle)), []
    reference = Reference(right._model, harness.checkpoint, "float32")
    chosen = [variant.at() for variant in sample(ALL, 2, 10) if variant.equivalent or variant.shows_in("float32")]
    for case in cases(chosen):
        plan = harness.oracle.scenario(case.scenario, PROMPT, catalogue().parts(case.variants[0]))
        oracle = harness.trace(harness.oracle, "float64", scenario=plan)
        scorer = Scorer(oracle, harness.against(oracle, "float32", right), catalogue(), plant)
        for variant in case.variants:
            reference.vary([(variant.name, variant.place)])
            run = lambda mode: harness.trace(reference, "float32", oracle=oracle.path, mode=mode)  # noqa: B023, E731
            scores.append(scorer.score(variant, run))
            reference.vary([])
    return Totals(tuple(scores), "float32")


@pytest.mark.slow
def test_a_tenth_is_found_as_promised(scored):
    """Every bug flagged, at its own step and few others; nothing that is the same by algebra."""
    assert len(scored.bugs) >= 20
    assert scored.harmless
    wrong = (*scored.missed, *scored.elsewhere, *scored.false, *scored.crashed)
    assert not [
        (score.variant.name, score.first, score.crash) for score in wrong if score.variant.name not in INHERITED
    ]
    assert len(scored.many) <= 1


@pytest.mark.slow
def test_a_tenth_is_named(scored):
    """Each as what it is; and where it is not known, as no other."""
    assert {score.variant.name for score in scored.unnamed} <= UNNAMED
    assert not [(score.variant.name, score.instead) for score in scored.mistaken]


def test_all_good_is_as_promised():
    assert totals().exit_code is ExitCode.PARITY
    assert not list(totals().broken())


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([dataclasses.replace(FOUND, flagged=False, first="", status="")], "not flagged: wrong"),
        ([dataclasses.replace(FOUND, first="toy.other")] * 2, "at another step than their own: wrong"),
        ([dataclasses.replace(FOUND, status=str(Status.INHERITED))] * 2, "at another step than their own: wrong"),
        ([dataclasses.replace(FOUND, steps=4)] * 6, "flag more than 3 steps in lockstep: wrong"),
        ([dataclasses.replace(PASSED, flagged=True)], "equivalent variants are flagged: same"),
        ([dataclasses.replace(PASSED, crash="killed")], "could not be judged: same"),
        ([dataclasses.replace(FOUND, named="other")] * 6, "the causes of 6 of 105 are not named: wrong"),
        ([dataclasses.replace(FOUND, instead="other")], "another bug is named with confidence: wrong"),
        ([dataclasses.replace(PASSED, flagged=True, named="other")], "another bug is named with confidence: same"),
    ],
)
def test_each_broken_promise_is_seen(bad, said):
    """In the exit code, and by name."""
    broken = totals(*bad)
    assert broken.exit_code is ExitCode.DIVERGED
    assert said in " ".join(broken.broken())


def test_a_coarse_arithmetic_may_hide_a_fifth():
    missed = [dataclasses.replace(FOUND, dtype="bfloat16", flagged=False, first="", status="", named="")]
    assert totals(*missed * 24, dtype="bfloat16").exit_code is ExitCode.PARITY
    assert "26 of 125 bugs stay below the noise" in " ".join(totals(*missed * 26, dtype="bfloat16").broken())
    false = dataclasses.replace(PASSED, dtype="bfloat16", flagged=True)
    assert totals(false, dtype="bfloat16").exit_code is ExitCode.DIVERGED


def test_what_shows_in_bfloat16_alone_is_not_missed_in_float32():
    coarse = dataclasses.replace(BUG, dtypes=("bfloat16",))
    unseen = dataclasses.replace(FOUND, variant=coarse, flagged=False, first="", status="")
    assert not totals(unseen).missed


def test_a_sample_is_stratified():
    """Each component of ten or more has its share; the samples are the whole without overlap."""
    parts = [sample(ALL, number, 10) for number in range(1, 11)]
    assert sorted(variant.name for part in parts for variant in part) == sorted(variant.name for variant in ALL)
    for component in catalogue().components:
        size = len(catalogue().of(component))
        for part in parts:
            assert abs(sum(variant.component == component for variant in part) - size / 10) < 1


def test_cases_share_the_oracle():
    """No two cases need the same inputs, and none is left out."""
    found = cases(ALL)
    assert len({(case.scenario, case.media) for case in found}) == len(found)
    assert sum(len(case.variants) for case in found) == len(ALL)


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "mask-no-windo"], "unknown variant 'mask-no-windo'; the nearest: mask-no-window"),
        (["run", "zzz"], "unknown variant 'zzz'; no name is like it"),
        (["run", "mask-no-window", "--at", "3"], "can be in one place alone"),
        (["list", "--component", "toes"], "no variants of component 'toes'; there are"),
        (["score", "--only", "mask-windo"], "no variant matches 'mask-windo'; the nearest: mask-no-window"),
        (["score", "--sample", "11/10"], "no sample 11/10"),
        (["score", "--sample", "tenth"], "--sample 'tenth' is no sample"),
        (["score", "--markdown", "/dev/null/page.md"], "cannot write to /dev/null"),
        (["score", "--markdown", str(ROOT)], "it is a folder; name a file"),
        (["score", "--dtype", "float64", "--only", "mask-*"], "float64 is the oracle's arithmetic"),
    ],
)
def test_bad_requests_are_one_line_and_exit_2(arguments, said, parity):
    code, out, error = parity("variants", *arguments)
    assert (code, out) == (ExitCode.USAGE, "")
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        ("transformers@variant=mask-no-windo", "unknown variant 'mask-no-windo'"),
        ("transformers@variant=mask-no-window:at=3", "variant mask-no-window can be in one place alone"),
        ("transformers@at=3", "option at=3 is the place of no variant"),
        ("transformers@bug=norm-no-gain", "backend transformers has no option 'bug'"),
    ],
)
def test_a_bad_candidate_is_refused(candidate, said, parity, monkeypatch):
    """Before any worker is started."""
    monkeypatch.setattr("parity.running.parties.Party", None)
    code, _, error = parity("compare", "--candidates", candidate)
    assert code == ExitCode.USAGE
    assert said in error.splitlines()[-1]


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


@pytest.mark.slow
def test_run_compares_one_variant(parity, harness, monkeypatch):
    """In a layer of one's choice."""
    bring_near(harness, monkeypatch)
    code, out, error = parity("variants", "run", "laurel-no-sqrt2", "--at", "5")
    assert code == ExitCode.DIVERGED, error
    assert "text.layers.5.attn_laurel" in out
    assert "transformers@variant=laurel-no-sqrt2:at=5" in out


@pytest.mark.slow
def test_score_plants_variants_in_loaded_models(parity, harness, monkeypatch, tmp_path):
    """Bugs and what is none, as JSON and as a page; the exit code says that all is as promised."""
    bring_near(harness, monkeypatch)
    page = tmp_path / "score.md"
    arguments = ["--only", "*cap*", "--component", "soft-cap", "--json", "--markdown", page]
    code, out, error = parity("variants", "score", *arguments)
    assert code == ExitCode.PARITY, error
    data = json.loads(out)
    assert [row["variant"] for row in data["scores"]] == [each.name for each in catalogue().of("soft-cap")]
    assert not data["broken"]
    assert all(row["first_divergence"] == row["own_step"] == "text.logits" for row in data["scores"])
    assert "| `soft-cap-50`: the cap is 50" in page.read_text()


def test_a_variant_that_crashes_is_a_score_of_its_own(monkeypatch):
    """The others go on; it is reported by name."""
    monkeypatch.setattr(Nursery, "_varied", staticmethod(lambda worker, *rest: worker.call("run")))
    nursery = Nursery(catalogue(), find_checkpoint(None), "float32", Silent())

    class Idle:
        def call(self, op):
            raise UsageError("no such thing")

    nursery._idle.put(Idle())
    score = nursery._score(BUG, ROOT / "nowhere", scorer=None)
    assert (score.crash, score.flagged) == ("no such thing", False)


def test_a_variant_that_hides_a_step_is_not_judged(harness, deviant):
    """An edit that takes a tapped call away would make its bug look found."""
    variant = catalogue().get("norm-no-gain").at()
    judgement = harness.judge(deviant("Missing"), "float32", "one-shot")
    assert Score.of(variant, judgement).crash == f"{TAPPED} is uncovered: not emitted"


def test_reports_name_what_is_wrong(capsys):
    """The table, the page and the JSON say the same."""
    from parity.report.console import console

    missed = dataclasses.replace(FOUND, flagged=False, first="", status="", ratio=2.5)
    bad = totals(missed, dataclasses.replace(PASSED, flagged=True))
    print_scores(bad, console(width=160))
    out = capsys.readouterr().out
    page = markdown([bad], "the command", catalogue())
    for text in (out, page):
        assert "MISSED" in text
        assert "FLAGGED, is equivalent" in text
        assert "not as promised" in text
        assert "below the noise, with their floors at their own step: wrong (2.5)" in text
    assert as_json(bad)["missed"] == ["wrong"]
    endless = as_json(totals(dataclasses.replace(FOUND, ratio=math.inf)))
    assert json.loads(json.dumps(endless))["scores"][-1]["ratio"] is None
    assert "99 of 100 bugs found (99.0 %)" in "\n".join(summary(bad))


def stale(page, known):
    """What of a catalogue is not on the page of its score."""
    if f"`{known.digest}`" not in page:
        return [f"another catalogue; {PAGE_COMMAND}"]
    chapters = {chapter.split()[0]: chapter for chapter in page.split("\n## ")[1:]}
    return [
        f"{variant.name} in {dtype}"
        for dtype, text in chapters.items()
        for variant in known.variants
        if (variant.equivalent or variant.shows_in(dtype)) and f"| `{variant.name}`: {variant.meaning} |" not in text
    ] or [dtype for dtype in ("float32", "bfloat16") if dtype not in chapters]


def test_the_page_of_the_score_is_of_this_catalogue():
    """Written anew after any change of a variant; what it says of each is then measured."""
    page = (ROOT / "docs/variants-score.md").read_text()
    assert stale(page, catalogue()) == []
    assert "not judged" not in page


def test_a_stale_page_is_seen():
    """Another catalogue, a variant that is left out, no variant at all."""
    some = dataclasses.replace(catalogue(), variants=(BUG, SAME))
    fine, coarse = (Totals((FOUND, PASSED), dtype) for dtype in ("float32", "bfloat16"))
    page = markdown([fine, coarse], "the command", some)
    assert stale(page, some) == []
    assert stale(page, catalogue()) == [f"another catalogue; {PAGE_COMMAND}"]
    assert stale(markdown([Totals((FOUND,), "float32"), coarse], "the command", some), some) == ["same in float32"]
    assert stale(markdown([fine], "the command", some), some) == ["bfloat16"]


def test_the_list_starts_without_a_framework():
    """Torch, transformers and timm are imported by the worker alone."""
    code = (
        "import sys; from reference.gemma3n.variants import catalogue; catalogue(); import parity.cli.variants;"
        "print(*{'torch', 'transformers', 'timm'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def test_the_strict_promises_are_the_issues():
    assert (scoring.STEPS, scoring.AT_HOME, scoring.FEW, scoring.FOUND) == (3, 0.99, 0.95, 0.8)
