"""The score of the catalogue: a part of it is found as promised, and a broken promise is seen."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from parity.checkpoint import find_checkpoint
from parity.diagnosis.together import Remembered
from parity.errors import ExitCode, UsageError
from parity.judging.verdict import Status
from parity.report.variants import as_json, markdown, print_scores, summary
from parity.running.progress import Silent
from parity.site import Edit
from parity.variant import Variant, sample
from parity.variants import scoring
from parity.variants.planting import Nursery, cases
from parity.variants.scorer import Scorer
from parity.variants.scoring import Score, Totals
from reference.gemma3n.huggingface import Reference
from reference.gemma3n.variants import PROMPT, catalogue
from tests.deviations import TAPPED
from tests.near import bring_near
from tests.plant import plant_in

ROOT = Path(__file__).parents[2]

ALL = catalogue().variants

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


TENTH = sample(ALL, 2, 10)
"""Stratified; of the ten the one that needs the fewest scenarios."""


@pytest.fixture(
    scope="module",
    params=[sample(TENTH, 1, 2), pytest.param(TENTH, marks=pytest.mark.exhaustive)],
    ids=["twentieth", "tenth"],
)
def scored(request, harness):
    """The scores of a part of the catalogue, one model for all."""
    plant, scores = Remembered(plant_in(harness.oracle)), []
    reference = Reference(harness.baseline("float32")._model, harness.checkpoint, "float32")
    chosen = [variant.at() for variant in request.param if variant.equivalent or variant.shows_in("float32")]
    for case in cases(chosen):
        asked = case.scenario, PROMPT, catalogue().parts(case.variants[0])
        oracle = harness.oracle_trace(*asked)
        scorer = Scorer(oracle, harness.measured("float32", *asked), catalogue(), plant)
        for variant in case.variants:
            reference.vary([(variant.name, variant.place)])
            run = lambda mode: harness.trace(reference, "float32", oracle=oracle.path, mode=mode)  # noqa: B023, E731
            scores.append(scorer.score(variant, run))
            reference.vary([])
    return Totals(tuple(scores), "float32")


@pytest.mark.slow
def test_a_part_is_found_as_promised(scored):
    """Every bug flagged, at its own step and few others; nothing that is the same by algebra."""
    assert len(scored.bugs) >= 15
    assert scored.harmless
    wrong = (*scored.missed, *scored.elsewhere, *scored.false, *scored.crashed)
    assert not [
        (score.variant.name, score.first, score.crash) for score in wrong if score.variant.name not in INHERITED
    ]
    assert len(scored.many) <= 1


@pytest.mark.slow
def test_a_part_is_named(scored):
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
def test_a_bad_candidate_is_refused(candidate, said, parity):
    """It is imported, and no model is loaded."""
    code, _, error = parity("compare", "--candidates", candidate)
    assert code == ExitCode.USAGE
    assert said in error.splitlines()[-1]


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


@pytest.mark.slow
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


def test_the_strict_promises_are_the_issues():
    assert (scoring.STEPS, scoring.AT_HOME, scoring.FEW, scoring.FOUND) == (3, 0.99, 0.95, 0.8)
