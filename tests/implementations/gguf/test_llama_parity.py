"""llama.cpp in every scenario of text against the reference: what it deviates in, and that there is nothing else."""

from __future__ import annotations

import pytest

pytest.importorskip("xllamacpp")

from implementations.gguf import Backend
from parity.judging.baseline import judged
from reference.gemma3n.scenarios import MEANINGS
from reference.gemma3n.variants import helpers
from tests.harness import PROMPT
from tests.implementations.gguf.alike import deviating, gelu_table, read_from


@pytest.fixture(scope="module")
def backend(harness):
    """The embedded checkpoint in float32."""
    return Backend.load(harness.checkpoint, "float32")


@pytest.fixture(scope="module")
def alike(harness, backend):
    """Oracle and baseline with llama.cpp's deviations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helpers, "gelu_by_table", read_from(gelu_table(backend)))
        yield deviating(harness, "float64"), deviating(harness, "float32")


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [name for name in MEANINGS if name != "faint"])
def test_parity_with_the_reference_edited_alike(scenario, backend, alike, harness):
    """Every step but those that are hidden is covered, none introduced, none beyond 4 floors."""
    oracle, baseline = alike
    true = harness.trace(oracle, "float64", scenario=oracle.scenario(scenario, PROMPT))
    found = harness.against(true, "float32", baseline)
    judgement = judged(oracle=true, baseline=found, candidate=harness.runs(backend, "float32", true))[0]
    assert judgement.first_divergence is None, judgement.first_divergence
    assert judgement.worst.ratio <= 4
    assert not judgement.missing
