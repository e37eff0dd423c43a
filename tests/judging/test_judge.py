"""The judge on a toy model: every verdict, and what it refuses to compare."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from parity.errors import ExitCode, UsageError
from parity.judging.floors import SAMPLE, Floor, Floors, plausible
from parity.judging.judge import Judge, judge
from parity.judging.judgement import Comparison
from parity.judging.verdict import Status, TokenVerdict
from parity.traces.measure import Error, View, error_of
from parity.traces.runs import Runs
from parity.traces.scale import family
from parity.traces.trace import Key
from tests.toy import CONTRACT, Deaf, Toy, runs, write


@pytest.fixture
def judged(tmp_path):
    """Judges a toy in float32 with something wrong in it."""
    oracle = write(tmp_path, "oracle", Toy())
    baseline = runs(tmp_path, "baseline", Toy("float32"), oracle)

    count = itertools.count()

    def run(wrong=None, candidate=None, dtype="float32"):
        candidate = candidate or runs(tmp_path, f"candidate-{next(count)}", Toy(dtype, wrong), oracle, dtype)
        return judge(oracle=oracle, baseline=baseline, candidate=candidate)

    run.oracle, run.baseline = oracle, baseline
    return run


def statuses(judgement, phase="prefill"):
    """Status by step of one phase."""
    return {step.step: step.status for step in judgement.steps if step.phase == phase}


def test_the_same_arithmetic_is_at_parity(judged):
    """Every step of every phase is ok, every token the same, exit 0."""
    judgement = judged()
    assert judgement.exit_code is ExitCode.PARITY
    assert len(judgement.steps) == 2 * len(CONTRACT)
    assert [token.same for token in judgement.tokens] == [True] * 5
    assert judgement.worst.ratio <= 1.0


def test_introduced_and_inherited(judged):
    """The faulty step is introduced; what follows from it is inherited."""
    judgement = judged({"embed": lambda x: x * np.float32(1.001)})
    assert statuses(judgement) == {
        "ids": Status.OK,
        "embed": Status.INTRODUCED,
        "layers.0.mean": Status.INHERITED,
        "logits": Status.INHERITED,
    }
    assert judgement.first_divergence.step == "embed"
    assert judgement.first_divergence.lockstep.error == pytest.approx(1e-3, rel=1e-3)
    assert judgement.exit_code is ExitCode.DIVERGED


def test_one_wrong_token_is_seen_and_named(judged):
    """A fault in one token counts by that token's own error."""

    def wrong(x):
        x = x.copy()
        x[0, -1] *= np.float32(1 + 4e-6)
        return x

    first = judged({"embed": wrong}).first_divergence
    assert (first.step, first.phase) == ("embed", "prefill")
    assert first.lockstep.decides.where == (("batch", 0), ("token", 3))


def test_integers_must_be_equal(judged):
    """There is no floor for ids."""
    assert judged({"ids": lambda x: x + 1}).first_divergence.step == "ids"


def test_nonfinite(judged):
    """A NaN that the oracle does not have."""

    def wrong(x):
        x = x.copy()
        x[0, 0, 0] = np.nan
        return x

    assert statuses(judged({"embed": wrong}))["embed"] is Status.NONFINITE


def test_contract_breaches(judged):
    """Another shape, another kind."""
    assert statuses(judged({"logits": lambda x: x[..., :-1]}))["logits"] is Status.CONTRACT
    assert statuses(judged({"layers.0.mean": lambda x: x > 0}))["layers.0.mean"] is Status.CONTRACT


def test_what_follows_from_another_length_is_inherited(judged):
    """One token too many makes all that follows longer: one step has a fault of its own, for each length."""

    def longer(x):
        return np.concatenate([x, x[:, -1:]], 1)

    found = statuses(judged({"embed": longer}))
    assert found["embed"] is Status.CONTRACT
    assert found["layers.0.mean"] is found["logits"] is Status.INHERITED
    other = statuses(judged({"embed": longer, "logits": lambda x: x[..., :-1]}))
    assert (other["layers.0.mean"], other["logits"]) == (Status.INHERITED, Status.CONTRACT)


def test_what_follows_a_sequence_of_another_length_is_inherited(judged):
    """In later phases values are off as well, for caches are; another width has no such effect."""

    def late(x):
        return x * np.float32(2) if x.shape[1] == 1 else np.concatenate([x, x[:, -1:]], 1)

    def wide(x):
        return x * np.float32(2) if x.shape[1] == 1 else np.concatenate([x, x[..., -1:]], 2)

    assert statuses(judged({"embed": late}), "decode.1")["embed"] is Status.INHERITED
    assert statuses(judged({"logits": wide}), "decode.1")["logits"] is Status.INTRODUCED


def test_what_is_made_of_a_wrong_shape_is_inherited(judged):
    """Lockstep cannot replace it: the next step of each kind may read it. A step behind that errs by itself."""

    def longer(x):
        return np.concatenate([x, x[:, -1:]], 1)

    carried = {"ids": longer, "embed": lambda x: x[:, :4] * np.float32(2)}
    found = statuses(judged(carried))
    assert (found["ids"], found["embed"], found["logits"]) == (Status.CONTRACT, Status.INHERITED, Status.INHERITED)
    behind = statuses(judged(carried | {"layers.0.mean": lambda x: x * np.float32(2)}))
    assert behind["layers.0.mean"] is Status.INTRODUCED


def test_nan_that_spreads_in_a_free_run_alone(judged, tmp_path):
    """The first step that is not finite is where it is; none behind it is called a fault of its own."""
    nan = {"embed": lambda x: x * np.float32(np.nan)}
    free = runs(tmp_path, "nan", Toy("float32", nan), judged.oracle).free
    judgement = judged(candidate=Runs(free, None))
    assert [step.step for step in judgement.introduced] == ["embed"]
    assert statuses(judgement)["logits"] is Status.INHERITED


def test_free_run_alone(judged, tmp_path):
    """Without a lockstep run the first step beyond the floor is shown, and none is called introduced."""
    candidate = runs(tmp_path, "free", Toy("float32", {"embed": lambda x: x * np.float32(1.01)}), judged.oracle)
    judgement = judged(candidate=Runs(candidate.free, None))
    assert judgement.first_divergence.step == "embed"
    assert not judgement.introduced
    assert judgement.free_alone
    assert judgement.exit_code is ExitCode.DIVERGED


def test_without_tensors_the_sketch_serves(judged, tmp_path):
    """Errors are seen through sketches where tensors were not kept."""
    toys = {"good": Toy("float32"), "bad": Toy("float32", {"embed": lambda x: x * np.float32(1 + 1e-5)})}
    free = {
        name: write(tmp_path, name, toy, "float32", oracle=judged.oracle.path, keep_tensors=False)
        for name, toy in toys.items()
    }
    assert judged(candidate=Runs(free["good"], None)).first_divergence is None
    assert judged(candidate=Runs(free["bad"], None)).first_divergence.step == "embed"


def test_token_verdicts(judged):
    """A token that differs beyond the noise is a divergence; within it, a near tie."""
    oracle = judged.oracle.tensor(next(key for key in judged.oracle.records if key.step == "logits"))
    first, second = np.argsort(oracle[0, 0])[::-1][:2]
    margin = oracle[0, 0, first] - oracle[0, 0, second]

    def nudged(by):
        def wrong(x):
            x = x.copy()
            x[0, 0, second] += np.float32(margin + by)
            return x

        return judged({"logits": wrong}).tokens[0]

    assert nudged(1.0).diverged
    assert nudged(1.0).oracle == first
    assert nudged(1.0).candidate == second


def test_near_tie_is_not_a_divergence():
    """The margin decides."""
    assert TokenVerdict("prefill", 0, 0, 5, 6, margin=1e-7, noise=1e-6).near_tie
    assert TokenVerdict("prefill", 0, 0, 5, 6, margin=1e-5, noise=1e-6).diverged
    assert not TokenVerdict("prefill", 0, 0, 5, 5, margin=0.0, noise=1e-6).near_tie


@pytest.mark.parametrize("field", ["model", "weights", "contract", "scenario"])
def test_another_run_is_refused(judged, tmp_path, field):
    """Traces of another model, weights, contract or scenario are not compared."""
    candidate = runs(tmp_path, "other", Toy("float32"), judged.oracle).free
    manifest = json.loads((candidate.path / "manifest.json").read_text())
    manifest[field] = {**manifest["scenario"], "name": "x"} if field == "scenario" else "x"
    (candidate.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=f"another {field}"):
        judged(candidate=Runs(type(candidate).read(candidate.path), None))


def test_empty_run_never_passes(judged):
    """No judgement, or one without steps, is incomplete."""
    assert Comparison(CONTRACT, judged.oracle.manifest, ()).exit_code is ExitCode.INCOMPLETE


def test_families():
    """Indices are what tells members of a family apart."""
    assert family("text.layers.12.mlp.gate_mean") == family("text.layers.3.mlp.gate_mean")
    assert family("text.layers.3.mlp.gate_mean") != family("text.layers.3.mlp.gate_std")
    assert family("text.altup.embed.1.out") == "text.altup.embed.*.out"


def test_few_tokens_take_the_familys_floor(judged):
    """A step of few tokens is held to the largest floor of its family over all phases, not to one lucky rounding."""
    floors = Floors(oracle=judged.oracle, free=judged.baseline.free, lockstep=judged.baseline.lockstep)
    keys = [Key(phase, "layers.0.mean") for phase in ("prefill", "decode.1")]
    errors = [error_of(key, oracle=judged.oracle, candidate=judged.baseline.lockstep).relative for key in keys]
    assert errors[0] != errors[1]
    assert [floors.lockstep(key).relative for key in keys] == [max(errors)] * 2


def test_behind_an_uncovered_step_the_free_floor_serves(judged, tmp_path):
    """A step that starts from inexact inputs is not called introduced for it."""
    candidate = runs(tmp_path, "deaf", Deaf("float32"), judged.oracle)
    judgement = judged(candidate=candidate)
    assert judgement.exit_code is ExitCode.INCOMPLETE
    assert not judgement.introduced


def test_free_run_is_held_to_what_the_steps_add_up_to(judged):
    """Where steps err R floors from exact inputs, R at most K, the free floor behind them is R times the baseline's."""

    def free_floor(wrong):
        last = next(step for step in judged(wrong).steps if step.step == "logits")
        return last.free.floor

    clean = free_floor(None)
    assert clean < free_floor({"embed": lambda x: x * np.float32(1 + 3.6e-7)}) <= 4 * clean
    assert free_floor({"embed": lambda x: x * np.float32(1.01)}) == pytest.approx(clean)


def test_another_arithmetic_is_refused(judged, tmp_path):
    """A float16 candidate is not held to float32 floors."""
    candidate = runs(tmp_path, "half", Toy("float16"), judged.oracle, "float16")
    with pytest.raises(UsageError, match="is in float32, the candidate in float16"):
        judged(candidate=candidate)


def test_oracle_that_lacks_a_step_is_refused(judged):
    """A foreign oracle's trace may be anything; one without a step of its own contract judges nothing."""
    del judged.oracle.records[Key("decode.1", "embed")]
    with pytest.raises(UsageError, match=r"lacks embed in decode\.1"):
        judged(candidate=judged.baseline)


def test_what_rounds_more_than_its_format_may_err_more():
    """A percent is no error of float32, and is one of products of 8-bit integers."""
    assert plausible("float32") == 2.0**-8
    assert plausible("float32-ggml-q8_0") == plausible("bfloat16") == 1


def test_the_only_place_of_a_tensor_is_held_to_the_floor_of_places(judged):
    """As the last token's key, whose rotation errs more than the mean over all positions; of several it is not."""

    class Measured:
        lockstep = free = staticmethod(lambda key: Floor({"tensor": 1e-6, "place": 3e-6}, samples=SAMPLE))

    def ratio(samples):
        def measure(key, **traces):
            return Error((View("tensor", 6e-6), View("place", 6e-6, (("token", 0),))), samples=samples)

        judging = Judge(
            oracle=judged.oracle, candidate=judged.baseline, floors=Measured(), allowed=4.0, measure=measure
        )
        return judging.from_exact_inputs(Key("decode.1", "embed"), CONTRACT.get("embed")).ratio

    assert ratio(samples=1) == pytest.approx(2)
    assert ratio(samples=2) == pytest.approx(6)
