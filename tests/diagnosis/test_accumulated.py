"""Bugs below the noise of any one value: many are planted in one run, all rows are evidence, noise proves nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.diagnosis.accumulated import NOTE, Accumulated
from parity.diagnosis.rows import Rows, Share
from parity.diagnosis.together import Remembered, batches, scope
from parity.errors import ExitCode, UsageError
from parity.judging.judge import judge
from parity.judging.verdict import Status
from parity.placing import placed
from parity.report import causes
from parity.site import Edit
from parity.traces.runs import Runs
from parity.variant import sample
from parity.weave import weave
from reference.gemma3n.variants import catalogue
from reference.gemma3n.variants.writing import LAYER
from tests.harness import PROMPT
from tests.plant import plant_in

SHORT = "one-shot"
BUGS = [each for each in catalogue().variants if not each.equivalent and not each.media and each.scenario == SHORT]


def rows(size, noise, times=1.0, number=64, seed=0):
    """Rows of 32 values with a bug of a size, so many times, under noise; both relative to the values."""
    draw = np.random.default_rng(seed)
    true, effect, error = (draw.standard_normal((number, 32)) for _ in range(3))
    return Rows.of(true=true, error=times * size * effect + noise * error * true, effect=size * effect)


@given(st.floats(-3, 3).filter(lambda times: abs(times) > 1e-6), st.floats(1e-3, 1e3))
def test_without_noise_the_coefficient_is_exact(times, size):
    share = Share.of([rows(size, 0.0, times)])
    assert share.alpha == pytest.approx(times, rel=1e-9)
    assert share.explained == pytest.approx(1.0)


@settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_a_bug_of_a_third_of_the_noise_is_sure_in_enough_rows(seed):
    """64 rows of 32 values show it at some 13 standard deviations."""
    share = Share.of([rows(0.3, 1.0, seed=seed)])
    assert share.alpha == pytest.approx(1.0, abs=6 * share.deviation)
    assert share.sure == (share.sigmas >= 8 and abs(share.alpha - 1) <= 0.25)
    assert share.sigmas > 4


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.sampled_from([0.03, 0.1, 0.3, 1.0, 3.0]))
def test_noise_proves_nothing(seed, size):
    assert not Share.of([rows(size, 1.0, times=0.0, seed=seed)]).sure


@pytest.mark.parametrize(
    ("times", "number", "sure"),
    [(1.0, 64, True), (0.5, 64, False), (1.5, 64, False), (-1.0, 64, False), (1.0, 3, False)],
)
def test_a_bug_is_sure_as_large_as_it_is_and_in_enough_rows(times, number, sure):
    assert Share.of([rows(1.0, 0.1, times, number)]).sure == sure


def test_an_effect_of_no_weight_says_nothing():
    """As that of a bug which acts only where the oracle is all zero: two clips of which one is padded."""
    none = Rows.of(true=np.zeros((4, 8)), error=np.ones((4, 8)), effect=np.ones((4, 8)))
    share = Share.of([none])
    assert (share.alpha, share.sigmas, share.explained) == (0.0, 0.0, 0.0)
    assert not share.sure
    assert not share.sure_by_degrees


@pytest.mark.parametrize(
    ("times", "number", "sure"),
    [(7.0, 16, True), (-1.0, 16, True), (0.5, 16, True), (0.1, 16, False), (1.0, 4, False)],
)
def test_a_bug_by_degrees_may_be_of_any_size_and_is_in_many_tensors(times, number, sure):
    pieces = [rows(1.0, 0.01, times, seed=seed).whole for seed in range(number)]
    assert Share.of(pieces).sure_by_degrees == sure


@settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_errors_that_hang_together_within_each_tensor_prove_nothing(seed):
    """As of a picture with one colour: all pixels of it are rounded the same way."""
    draw = np.random.default_rng(seed)
    true = draw.standard_normal((16, 64, 32))
    pieces = [Rows.of(true=x, error=1e-3 * draw.standard_normal() * x, effect=1e-4 * x) for x in true]
    assert not Share.of([piece.whole for piece in pieces]).sure_by_degrees


def test_more_rows_make_it_sure():
    """No piece alone is; together they are."""
    pieces = [rows(0.03, 1.0, number=32, seed=seed) for seed in range(40)]
    assert not any(Share.of([piece]).sure for piece in pieces)
    assert Share.of(pieces).sure


def test_bugs_of_one_run_share_neither_a_function_nor_a_part_of_the_model():
    every = [bug.at(layer) for bug in BUGS for layer in (("3", "7") if bug.place == LAYER else ("",))]
    made = batches(every)
    assert sorted(bug.name for batch in made for bug in batch) == sorted(bug.name for bug in every)
    assert len(made) < len(BUGS) / 2
    for batch in made:
        kinds = {bug.name: bug for bug in batch}.values()
        taken = [what for bug in kinds for what in {scope(bug.first), *(edit.function for edit in bug.edits)}]
        assert len(taken) == len(set(taken))


def test_the_part_of_the_model_that_a_step_is_of():
    assert scope("text.layers.3.attn.q_proj") == scope("text.layers.24.attn.context") == "text.layers.attn"
    assert scope("text.layers.3.attn_laurel") != scope("text.layers.3.attn.out")


@pytest.mark.slow
def test_what_many_cause_in_one_run_is_what_each_causes_alone(harness):
    """To the bit, in every layer where it can be: a tenth of the bugs."""
    oracle, plant = harness.oracle_trace(SHORT), plant_in(harness.oracle)
    wanted = {}
    for bug in sample(BUGS, 4, 10):
        for key in oracle.records:
            if here := placed(bug, key.step, oracle.contract):
                wanted.setdefault(here, []).append(key)
    assert len(wanted) > 200
    found = dict(Remembered(plant).effects(wanted, oracle))
    for bug in list(wanted)[::9]:
        (key,) = wanted[bug]
        np.testing.assert_array_equal(found[bug][key], plant([bug], oracle, [key])[key])


def test_a_bug_that_cannot_be_there_costs_itself_alone(harness):
    oracle = harness.oracle_trace(SHORT)
    good, bad = catalogue().get("norm-no-gain").at("3"), catalogue().get("laurel-half").at("3")
    runs = []

    def plant(variants, oracle, keys, missing):
        runs.append([variant.name for variant in variants])
        if bad in variants:
            raise UsageError("it cannot be there")
        return plant_in(harness.oracle)(variants, oracle, keys, missing)

    wanted = {bug: [next(key for key in oracle.records if key.step == bug.first)] for bug in (good, bad)}
    assert [bug for bug, _ in Remembered(plant).effects(wanted, oracle)] == [good]
    assert runs == [["norm-no-gain", "laurel-half"], ["norm-no-gain"], ["laurel-half"]]


def test_a_bug_that_throws_is_no_crash(harness, monkeypatch):
    """Inputs may not go through it, as rows of unequal length do not through some: the oracle's process is not gone."""

    def throwing(*given, **more):
        raise RuntimeError("the size of tensor a must match")

    oracle, bug = harness.oracle_trace(SHORT), catalogue().get("laurel-half").at("3")
    key = next(key for key in oracle.records if key.step == bug.first)
    with monkeypatch.context() as patched:
        patched.setattr(harness.oracle, "forward", throwing)
        with pytest.raises(UsageError, match="laurel-half: RuntimeError: the size of tensor a"):
            plant_in(harness.oracle)([bug], oracle, [key])
    assert key in plant_in(harness.oracle)([bug], oracle, [key])


@pytest.fixture(scope="module")
def judged(harness):
    """Judges the bfloat16 reference with a bug in some layers, in scenario after scenario."""

    def run(name, layers, scenarios, known=BUGS):
        candidate = harness.baseline("bfloat16")
        evidence = Accumulated(dataclasses.replace(catalogue(), variants=tuple(known)), plant_in(harness.oracle))
        for scenario in scenarios:
            oracle, base = harness.oracle_trace(scenario), harness.baseline_runs("bfloat16", scenario)
            candidate.vary([(name, layer) for layer in layers])
            try:
                lockstep = harness.trace(candidate, "bfloat16", oracle=oracle.path, mode="lockstep")
            finally:
                candidate.vary([])
            plain = judge(oracle=oracle, baseline=base, candidate=Runs(None, lockstep))
            assert not plain.introduced
            yield evidence.judged(plain, oracle=oracle, baseline=base.lockstep, candidate=lockstep)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layers", "steps"),
    [("soft-cap-50", [""], 1), ("ple-gate-erf", [""], 1), ("norm-gain-off", [*map(str, range(25))], 25)],
)
def test_a_bug_below_the_floors_is_found_and_named(name, layers, steps, judged):
    """At its steps alone, with the evidence; the exit code is a divergence's."""
    (found,) = judged(name, layers, [SHORT])
    said = found.diagnoses[0]
    assert found.exit_code is ExitCode.DIVERGED
    assert found.first_divergence.step == catalogue().get(name).at(layers[0]).first == said.step
    assert {step.step for step in found.introduced} == set(said.steps)
    assert len(said.steps) == steps
    assert all(step.status is Status.INTRODUCED and step.note == NOTE for step in found.introduced)
    assert said.causes[0].name == name
    assert abs(said.causes[0].alpha - 1) <= 0.25
    assert said.sigmas >= 8
    assert "below the noise of each" in causes.evidence(said)


@pytest.mark.slow
def test_scenarios_add_up(judged):
    """A gain of 1.0001 too many in one layer, a 25th of a floor: one prompt does not prove it, two do."""
    first, second = judged("norm-gain-off", ["3"], [SHORT, "square"])
    assert not first.introduced
    assert second.diagnoses[0].causes[0].name == "norm-gain-off"
    assert second.diagnoses[0].steps == ("text.layers.3.post_attention_layernorm",)


@pytest.mark.slow
def test_a_faint_bug_that_is_not_known_is_no_other(judged):
    for name in ("soft-cap-50", "ple-gate-erf"):
        others = [bug for bug in BUGS if bug.name != name]
        (found,) = judged(name, [None], [SHORT], others)
        assert not found.introduced


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "dtype"),
    [
        ("mlx", "bfloat16"),
        pytest.param("mlx", "float16", marks=pytest.mark.exhaustive),
        ("ane", "float16-ane"),
    ],
)
def test_right_candidates_have_no_faint_bug(backend, dtype, harness):
    from parity.discovery import find

    oracle, base = harness.oracle_trace(SHORT), harness.baseline_runs(dtype, SHORT)
    lockstep = harness.trace(find(backend).load(harness.checkpoint, dtype), dtype, oracle=oracle.path, mode="lockstep")
    plain = judge(oracle=oracle, baseline=base, candidate=Runs(None, lockstep))
    evidence = Accumulated(catalogue(), plant_in(harness.oracle))
    found = evidence.judged(plain, oracle=oracle, baseline=base.lockstep, candidate=lockstep)
    assert not found.introduced
    assert found.diagnoses == ()


LAUREL = "implementations.mlx.layer:DecoderLayer._attention"


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "told"), [("2.0**-0.5", False), ("2.0**-0.5 * 0.994", True)])
def test_a_rounded_constant_is_no_bug(factor, told, harness):
    """2^-1/2 in bfloat16 is off by 1.1e-4 of every value, and correct; what is off by more than a rounding is not."""
    from parity.discovery import find

    oracle = harness.oracle_trace(SHORT, 5 * PROMPT)
    base = harness.baseline_runs("bfloat16", SHORT, 5 * PROMPT)
    candidate = find("mlx").load(harness.checkpoint, "bfloat16")
    with weave((), print, [Edit(LAUREL, "/ self._sqrt2)", f"* ({factor}))")]):
        lockstep = harness.trace(candidate, "bfloat16", oracle=oracle.path, mode="lockstep")
    plain = judge(oracle=oracle, baseline=base, candidate=Runs(None, lockstep))
    evidence = Accumulated(dataclasses.replace(catalogue(), variants=()), plant_in(harness.oracle))
    found = evidence.judged(plain, oracle=oracle, baseline=base.lockstep, candidate=lockstep)
    assert {step.step for step in found.introduced} == (
        {f"text.layers.{layer}.attn_laurel" for layer in range(25)} if told else set()
    )
