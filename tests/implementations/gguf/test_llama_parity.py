"""llama.cpp in every scenario of text against the reference: what it deviates in, and that there is nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("xllamacpp")

from implementations.gguf import Backend
from implementations.gguf.options import KINDS
from parity.errors import ExitCode
from parity.judging.baseline import judged
from reference.gemma3n.scenarios import MEANINGS
from reference.gemma3n.variants import helpers
from tests.harness import PROMPT
from tests.implementations.gguf.alike import deviating, gelu_table, halves
from tests.marks import every_change


@pytest.fixture(scope="module")
def backend(harness):
    """The embedded checkpoint in float32."""
    return Backend.load(harness.checkpoint, "float32")


@pytest.fixture(scope="module")
def alike(harness):
    """Oracle and baseline with llama.cpp's deviations."""
    return deviating(harness, "float64"), deviating(harness, "float32")


def test_the_table_of_gelu_is_llama_cpps(backend):
    """To the bit, of every number that is read from it; gates beyond 10 are not."""
    inside = np.abs(halves()) < 10
    np.testing.assert_array_equal(helpers.gelu_table().float().numpy()[inside], gelu_table(backend)[inside])


def often(scenario):
    """A conversation (`generate`) reads, replies and reads on, as the scenarios do that are left out."""
    return pytest.mark.exhaustive if scenario in ("decode", "warm", "grown") else pytest.mark.slow


def judged_alike(candidate, dtype, scenario, alike, harness):
    """The judgement of a candidate against oracle and baseline that err as it does."""
    oracle, baseline = alike
    true = harness.trace(oracle, "float64", scenario=oracle.scenario(scenario, PROMPT))
    floors = harness.against(true, dtype, baseline)
    return judged(oracle=true, baseline=floors, candidate=harness.runs(candidate, dtype, true))[0]


def require_parity(judgement):
    """Every step but those that are hidden is covered, none introduced, none beyond 4 floors."""
    assert judgement.first_divergence is None, judgement.first_divergence
    assert judgement.worst.ratio <= 4
    assert not judgement.missing


@pytest.mark.parametrize("scenario", [pytest.param(name, marks=often(name)) for name in MEANINGS])
def test_parity_with_the_reference_edited_alike(scenario, backend, alike, harness):
    require_parity(judged_alike(backend, "float32", scenario, alike, harness))


BITS = [name for name in KINDS if name != "float32"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("scenario", every_change(["one-shot", "batch"], "one-shot"))
def test_parity_of_fewer_bits_with_the_reference_edited_alike(scenario, dtype, alike, harness):
    """The baseline rounds operands as ggml does."""
    parties = alike[0], deviating(harness, dtype)
    require_parity(judged_alike(Backend.load(harness.checkpoint, dtype), dtype, scenario, parties, harness))


NAMES = {
    "gate_std": "sparsity-sample-std",
    "activations": "mlp-gate-half-table",
    "per_layer_activation": "ple-gate-half-table",
    "token": "ple-padding-zero",
    "inputs_embeds": "hard-ids-as-text",
}
"""What llama.cpp does otherwise, by the end of a step's name."""
COUNTS = {"one-shot": 10 + 25 + 25, "outside": 10 + 25 + 25 + 2}


@pytest.mark.slow
@pytest.mark.parametrize("scenario", every_change(COUNTS, "outside"))
def test_what_llama_cpp_does_otherwise_is_found_and_named(scenario, parity):
    """Through the command, with the reference as it is: these steps are introduced and no other, each by its name."""
    code, out, _ = parity("compare", "--candidates", "llama-cpp", "--scenario", scenario, "--prompt", PROMPT, "--json")
    (judgement,) = json.loads(out)["judgements"]
    introduced = [step["step"].split(".")[-1] for step in judgement["steps"] if step["status"] == "introduced"]
    assert code == ExitCode.DIVERGED
    assert len(introduced) == COUNTS[scenario]
    assert judgement["counts"]["hidden"] == 4
    assert not judgement["counts"].get("uncovered")
    named = {found["step"].split(".")[-1]: [cause["name"] for cause in found["causes"]]
             for found in judgement["diagnoses"] if found["causes"]}  # fmt: skip
    assert named == {end: [NAMES[end]] for end in set(introduced)}
