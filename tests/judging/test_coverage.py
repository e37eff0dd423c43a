"""Floors under the coverage of the candidate: what is fused is judged as a block, and hides nothing behind it."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")

from parity.errors import ExitCode, UsageError
from parity.judging.baseline import Baseline, kept
from parity.judging.verdict import Status
from parity.running.execute import measured_run
from parity.traces import measured
from parity.traces.measure import Error
from parity.traces.measured import Execution
from parity.traces.trace import Key
from reference.gemma3n.huggingface import Reference
from tests.gaps import FUSED, Gapped
from tests.toy import Deaf, Toy, runs, write

SCENARIO = "one-shot"
BEHIND = (
    ("text.embed_tokens", "text.layers.10.pre_feedforward_layernorm"),
    ("text.layers.0.mlp.gate_*", "text.layers.5.mlp.activations"),
)
"""What is missing, and a step behind it; the second gap makes a fused block of a step of the same family in layer 0."""


@pytest.fixture
def judge(harness):
    """Judges the reference in float32, some of its taps silent, with known bugs by name and place."""
    candidate = Reference(harness.baseline("float32")._model, harness.checkpoint, "float32")

    def run(*patterns, bugs=(), **given):
        candidate.vary(list(bugs))
        return harness.judge(Gapped(candidate, *patterns, **given), "float32", SCENARIO)

    return run


def names(contract, *kept):
    """All steps but those that are kept."""
    return [step.name for step in contract if step.name not in kept]


@pytest.mark.slow
def test_a_right_port_that_emits_five_steps_is_at_parity(judge, harness):
    """Its few steps each have the floor of everything between them."""
    kept = ("text.input_ids", "text.embed_tokens", "text.norm", "text.lm_head", "text.logits")
    judgement = judge(*names(harness.oracle.contract(), *kept))
    assert judgement.exit_code is ExitCode.PARITY
    assert judgement.counts[Status.OK] == len(kept)


@pytest.mark.slow
@pytest.mark.parametrize(("gap", "step"), BEHIND)
def test_a_fault_behind_a_gap_is_as_large_as_without_it(gap, step, judge):
    """Behind the next step that is emitted, inputs are exact again: a fault of some 8 floors is seen."""
    fault = {step: lambda x: x * (1 + 5e-7)}
    whole, gapped = judge(wrong=fault), judge(gap, wrong=fault, hidden=False)
    assert [step.step for step in gapped.introduced] == [step.step for step in whole.introduced] == [step]
    assert gapped.first_divergence.ratio == pytest.approx(whole.first_divergence.ratio, rel=0.2)


def test_a_fault_inside_a_fused_layer_is_found_at_its_end(judge):
    """Not in a layer before it, nor in one behind it."""
    judgement = judge(*FUSED, bugs=[("attn-scale-sqrt-d", "3")])
    assert [step.step for step in judgement.introduced] == ["text.layers.3.out"]
    assert judge(*FUSED).exit_code is ExitCode.PARITY


class Runner:
    """The toy in two executions, as a baseline's party."""

    def __init__(self):
        self.toy = Toy("float32")
        self.toy.executions = {"other": 1.0}
        self.toy.execute_as = lambda name: None

    def executions(self):
        """One more than the usual, and plain order."""
        return ("other",), True

    def run(self, output, *, oracle, mode, missing):
        """A trace."""
        return write(output.parent, output.name, self.toy, "float32", oracle=oracle.path, mode=mode, missing=missing)

    def measure(self, execution, *, oracle, mode, missing):
        """Errors alone."""
        return measured_run(
            self.toy,
            oracle=oracle,
            dtype="float32",
            mode=mode,
            execution=execution,
            missing=missing,
            notify=lambda step: None,
        )


def test_what_is_kept_is_what_was_judged_by(tmp_path):
    """Beside the traces lie the errors of every execution, a set for each coverage; a candidate finds its own."""
    oracle = write(tmp_path, "oracle", Toy())
    whole, deaf = (runs(tmp_path, name, kind("float32"), oracle) for name, kind in (("a", Toy), ("b", Deaf)))
    baseline = Baseline(Runner(), oracle, tmp_path)
    for candidate in (whole, deaf):
        held_to = baseline.with_plain(baseline.runs(candidate), candidate)
        found = kept(oracle, candidate)
        assert found.lockstep.path == held_to.lockstep.path
        assert [each.name for each in found.executions] == ["other"]
        assert found.executions[0].lockstep == held_to.executions[0].lockstep
        assert found.plain.free == held_to.plain.free
    assert kept(oracle, whole).lockstep.records.keys() - kept(oracle, deaf).lockstep.records.keys() == {
        Key("prefill", "layers.0.mean"),
        Key("decode.1", "layers.0.mean"),
    }


def test_a_damaged_file_of_errors_is_one_line(tmp_path):
    """It says what to do."""
    folder = tmp_path / "baseline.other"
    execution = Execution("other", {Key("prefill", "logits"): Error.whole(math.inf)}, {})
    measured.write(execution, folder)
    assert measured.read(folder).free == execution.free
    (folder / "free.json").write_text("[[1, 2]")
    with pytest.raises(UsageError, match="compare again"):
        measured.read(folder)
