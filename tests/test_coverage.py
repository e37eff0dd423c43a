"""Floors under the coverage of the candidate: what is fused is judged as a block, and hides nothing behind it."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from parity.errors import ExitCode
from parity.verdict import Status
from reference.huggingface import Reference
from tests.gaps import Gapped

SCENARIO, MISSING, NORM = "one-shot", "text.embed_tokens", "text.layers.10.pre_feedforward_layernorm"
INSIDE = ("input_layernorm", "post_*", "pre_*", "attn_*", "activated", "per_layer_*")
"""Steps of a layer besides those of its parts; all but the last, ``out``."""


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


def test_a_right_port_that_emits_five_steps_is_at_parity(judge, harness):
    """Its few steps each have the floor of everything between them."""
    kept = ("text.input_ids", "text.embed_tokens", "text.norm", "text.lm_head", "text.logits")
    judgement = judge(*names(harness.oracle.contract(), *kept))
    assert judgement.exit_code is ExitCode.PARITY
    assert judgement.counts[Status.OK] == len(kept)


def test_a_fault_behind_a_gap_is_as_large_as_without_it(judge):
    """Behind the next step that is emitted, inputs are exact again: a norm that is off by 7 floors is seen."""
    fault = {NORM: lambda x: x * (1 + 5e-7)}
    whole, gapped = judge(wrong=fault), judge(MISSING, wrong=fault, hidden=False)
    assert [step.step for step in gapped.introduced] == [step.step for step in whole.introduced] == [NORM]
    assert gapped.first_divergence.ratio == pytest.approx(whole.first_divergence.ratio, rel=0.2)


def test_a_fault_inside_a_fused_layer_is_found_at_its_end(judge):
    """Not in a layer before it, nor in one behind it."""
    inside = ["text.layers.*.*.*", *(f"text.layers.*.{name}" for name in INSIDE)]
    judgement = judge(*inside, bugs=[("attn-scale-sqrt-d", "3")])
    assert [step.step for step in judgement.introduced] == ["text.layers.3.out"]
    assert judge(*inside).exit_code is ExitCode.PARITY
