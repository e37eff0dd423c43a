"""Causes are named: generic ones with their coefficient, known bugs by name; and nothing is named that is not so."""

from __future__ import annotations

import dataclasses
import io
from html import escape

import numpy as np
import pytest
from rich.console import Console

from parity import cli
from parity.checkpoint import Checkpoint
from parity.compare import Request, compare
from parity.diagnosis.diagnose import diagnose
from parity.diagnosis.generic import generic
from parity.diagnosis.hypothesis import Hypothesis, choose, convincing, fit
from parity.diagnosis.matched import PartyPlant
from parity.diagnosis.where import where
from parity.discovery import REFERENCES
from parity.judging.cause import Cause, Diagnosis
from parity.judging.judge import judge
from parity.judging.judgement import Comparison
from parity.report import causes
from parity.report.detail import Report
from parity.report.html import render as html
from parity.report.json import dumps, read_comparison
from parity.report.markdown import markdown, text
from parity.report.terminal import print_comparison
from parity.running.party import Party
from parity.running.progress import Silent
from parity.traces.trace import Key
from parity.variant import Variant
from reference.gemma3n.variants import catalogue
from tests import toy
from tests.evidence import evidence, true

SHORT = "one-shot"


def variant_of(effect, name="bug"):
    """A hypothesis that is a known bug."""
    return Hypothesis(name, effect, "a bug", variant=Variant(name, "toy", "a bug", "x", ()))


def test_a_known_bug_says_more_than_a_generic_cause():
    x = true(0)
    found = evidence((x, 2 * x))
    fits = [fit(found, each) for each in (*generic(found), variant_of(x.ravel()), variant_of(x.ravel(), "same"))]
    chosen, alike = choose(found, fits)
    assert (chosen.hypotheses[0].name, [each.name for each in alike]) == ("bug", ["same"])


def test_a_known_bug_must_be_as_large_as_it_is():
    """What points the same way but is larger is another bug."""
    x = true(0)
    found = evidence((x, 2 * x))
    assert not convincing(found, fit(found, variant_of(1.5 * x.ravel())))
    assert fit(found, variant_of(1.5 * x.ravel())).explained == pytest.approx(1)


def test_what_is_a_thousandth_of_a_known_bug_is_not_near_it():
    """What is twice as much is told as near, with its size; it is not named, for another bug may point the same way."""
    x, effect = true(0), true(1).ravel()
    found = evidence((x, x + 2 * effect.reshape(x.shape)))
    assert choose(found, [fit(found, variant_of(effect))]) is None
    assert fit(found, variant_of(effect)).near
    assert not fit(found, variant_of(effect / 1000)).near


def test_two_causes_at_one_step_are_both_named():
    x, one, other = true(0), true(1).ravel(), true(2).ravel()
    found = evidence((x, x + (one + other).reshape(x.shape)))
    fits = [fit(found, each) for each in (variant_of(one, "one"), variant_of(other, "other"), variant_of(one - other))]
    chosen, _ = choose(found, fits)
    assert [each.name for each in chosen.hypotheses] == ["one", "other"]
    assert chosen.alphas == pytest.approx((1, 1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x[:, 4:].__iadd__(1), "from token 4 of 9 on"),
        (lambda x: x[:, 4].__iadd__(1), "at token 4 of 9"),
        (lambda x: x[..., 3:6].__iadd__(1), "in 3 of 64 hidden indices"),
        (lambda x: x.__iadd__(1), ""),
    ],
)
def test_where_an_error_is(change, said):
    x = true(0)
    wrong = x.copy()
    change(wrong)
    assert said in where(evidence((x, wrong)))
    assert bool(said) == bool(where(evidence((x, wrong))))


def test_an_error_where_the_reference_is_zero():
    x = true(0)
    x[:, ::2] = 0
    assert "zero" in where(evidence((x, x + (x == 0))))


def test_without_variants_generic_causes_alone(tmp_path):
    """The toy has none: a factor is named all the same, in every phase; `is` names a step that was left out."""
    oracle = toy.write(tmp_path, "oracle", toy.Toy())
    base = toy.runs(tmp_path, "baseline", toy.Toy("float32"), oracle)
    wrong = toy.runs(tmp_path, "wrong", toy.Toy("float32", {"embed": lambda x: x * np.float32(2)}), oracle)
    judgement = judge(oracle=oracle, baseline=base, candidate=wrong)
    (said,) = diagnose(judgement, oracle=oracle, lockstep=wrong.lockstep, variants=None)
    assert (said.step, said.phases, said.causes[0].name) == ("embed", ("prefill", "decode.1"), "factor")
    assert "multiplied by 2" in causes.cause(said)
    assert diagnose(judgement, oracle=oracle, lockstep=None, variants=None) == ()


class Doubled(toy.Toy):
    """Embeds twice as large."""

    def __init__(self, dtype="float64"):
        super().__init__(dtype, {"embed": lambda x: 2 * x})


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [True, False])
def test_a_comparison_is_diagnosed_unless_told_not_to_be(wanted, tmp_path):
    """In worker processes; the toy's reference has no variants. A parity has no diagnosis."""
    checkpoint = Checkpoint(tmp_path, "toy", "weights")
    candidates = ("tests.diagnosis.test_diagnosis:Doubled", "tests.toy:Toy")
    request = Request(checkpoint, candidates, "float32", ("toy",), None, reference="tests.toy:Toy", diagnose=wanted)
    wrong, right = compare(request, progress=Silent()).judgements
    assert [said.causes[0].name for said in wrong.diagnoses] == ["factor"] * wanted
    assert right.diagnoses == ()


@pytest.mark.slow
def test_variants_are_planted_in_the_party_of_the_oracle(harness):
    """In one layer, then in another: the first is true again."""
    oracle, variant = harness.oracle_trace(SHORT), catalogue().get("laurel-half").at("7")
    key = Key("prefill", variant.first)
    with Party("oracle", "transformers", group=REFERENCES, progress=Silent()) as party:
        party.load(Checkpoint(harness.checkpoint, "tiny", "weights"), "float64")
        plant = PartyPlant(party)
        wrong = plant([variant], oracle, [key])[key]
        right = plant([catalogue().get("laurel-half").at("9")], oracle, [key])[key]
    np.testing.assert_allclose(wrong, oracle.tensor(key) / np.sqrt(2), rtol=1e-12)
    np.testing.assert_array_equal(right, oracle.tensor(key))


BUG = Cause("wrong-scale", "the scale is 3", 1.0, 0.9999, variant=True, source="mlx-lm 430", alike=("other",))
SAID = Diagnosis("embed", ("embed",), ("prefill",), 384, 1e-12, (BUG,), tried=3)
UNKNOWN = dataclasses.replace(SAID, causes=(), nearest=(BUG,), where="only at token 4 of 9")


@pytest.fixture
def diagnosed(tmp_path):
    """A comparison of the toy with a fault, of which a diagnosis says something."""
    oracle = toy.write(tmp_path, "oracle", toy.Toy())
    base = toy.runs(tmp_path, "baseline", toy.Toy("float32"), oracle)
    wrong = toy.runs(tmp_path, "wrong", toy.Toy("float32", {"embed": lambda x: x + np.float32(2)}), oracle)
    judgement = judge(oracle=oracle, baseline=base, candidate=wrong)

    def comparison(said):
        told = dataclasses.replace(judgement, diagnoses=(said,))
        return Comparison(toy.CONTRACT, oracle.manifest, (told,), prompt="x")

    return comparison


def test_reports_name_the_cause(diagnosed, tmp_path):
    """On the terminal in three lines at most, and through JSON as it was."""
    comparison = diagnosed(SAID)
    out = Console(width=160, record=True, file=io.StringIO())
    print_comparison(comparison, out)
    text = out.export_text()
    assert "behaves as wrong-scale: the scale is 3 (alpha = 1.00, explains 99.9 %), as in mlx-lm 430" in text
    assert "or      other, which would look the same" in text
    (tmp_path / "report.json").write_text(dumps(comparison))
    assert read_comparison(tmp_path).judgements[0].diagnoses == (SAID,)
    assert "tried: 3 known bugs of this step, and the generic causes" in causes.cause(UNKNOWN)
    assert "no cause found (nearest: wrong-scale (alpha = 1.00, 99.9 %)" in causes.cause(UNKNOWN)


def test_every_introduced_step_has_its_cause_or_none(diagnosed):
    """The first block points to the first step that has one; what was not looked into is said too."""
    comparison = diagnosed(UNKNOWN)
    judgement = comparison.judgements[0]
    wrong = [
        dataclasses.replace(judgement.first_divergence, step=step) for step in ("embed", "layers.0.mean", "logits")
    ]
    many = dataclasses.replace(
        judgement,
        steps=tuple(wrong),
        diagnoses=(UNKNOWN, dataclasses.replace(SAID, step="layers.0.mean", steps=("layers.0.mean",))),
    )
    for width in (80, 160):
        out = Console(width=width, record=True, file=io.StringIO())
        print_comparison(dataclasses.replace(comparison, judgements=(many,)), out)
        said = " ".join(out.export_text().split())
        assert "cause no cause found (nearest: wrong-scale" in said
        assert "but layers.0.mean, further on, has a cause: behaves as wrong-scale" in said
        assert "layers.0.mean: behaves as wrong-scale" in said
        assert "logits: not looked into" in said
    assert list(causes.later(dataclasses.replace(many, diagnoses=(SAID,)), wrong[0])) == []


def test_certainty_is_told_up_to_a_hundred():
    assert "42 standard deviations over 1 row" in causes.evidence(dataclasses.replace(SAID, sigmas=42.0, rows=1))
    assert "more than 100 standard deviations" in causes.evidence(dataclasses.replace(SAID, sigmas=46525.0, rows=9))


@pytest.mark.parametrize("said", [SAID, UNKNOWN], ids=["known", "unknown"])
def test_pages_name_the_cause(said, diagnosed):
    """HTML and Markdown have every line of it, with its label; without a diagnosis they have none."""
    comparison = diagnosed(said)
    page, comment = html(Report(comparison)), markdown(Report(comparison))
    lines = list(causes.lines(said))
    assert len(lines) >= 2
    for label, sentence in lines:
        assert f"- {text(label)}: {text(sentence)}" in comment
        assert escape(sentence) in page
    silent = dataclasses.replace(comparison.judgements[0], diagnoses=())
    without = Report(dataclasses.replace(comparison, judgements=(silent,)))
    for label, sentence in lines:
        assert text(sentence) not in markdown(without), label
        assert escape(sentence) not in html(without), label


def test_a_cause_is_text_in_a_page(diagnosed):
    """Whatever a catalogue calls its bugs."""
    hostile = dataclasses.replace(SAID, causes=(dataclasses.replace(BUG, name="<script>alert(1)</script>"),))
    for made in (html, markdown):
        assert "<script>alert" not in made(Report(diagnosed(hostile)))


@pytest.mark.parametrize(("option", "wanted"), [((), True), (("--diagnosis",), True), (("--no-diagnosis",), False)])
def test_a_user_may_do_without(option, wanted, diagnosed, monkeypatch):
    """What the command line asks the engine for."""
    requests = []

    def engine(request, *, progress, look, told):
        requests.append(request)
        return diagnosed(SAID)

    monkeypatch.setattr("parity.compare.compare", engine)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    with pytest.raises(SystemExit) as left:
        cli.main(["compare", "--candidates", "tests.toy:Toy", *option])
    assert left.value.code == 1
    assert [request.diagnose for request in requests] == [wanted]
