"""A residual stream beyond float16's range: found where it overflows, and brought back into range by alpha."""

import math

import pytest
import torch

from implementations.ane import Backend
from implementations.ane.engine.layers import RMSNorm
from parity.errors import ExitCode
from parity.judging.verdict import Status
from tests import residual
from tests.harness import Harness

ARITHMETIC = "float16-ane"


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A checkpoint whose streams peak near 100,000, and its reference."""
    folder = tmp_path_factory.mktemp("large")
    return Harness(folder, residual.write(folder / "checkpoint"))


def judged(harness, **options):
    options = {"context": "64", **options}
    return harness.judge(Backend.load(harness.checkpoint, ARITHMETIC, **options), ARITHMETIC, "one-shot")


@pytest.mark.slow
def test_an_overflow_is_found_where_it_happens(large):
    """The product that makes the per-layer inputs leaves the range before it is scaled by hidden_size^-0.5."""
    judgement = judged(large)
    first = judgement.first_divergence
    assert judgement.exit_code is ExitCode.DIVERGED
    assert (first.step, first.status) == ("text.per_layer_inputs.projection", Status.NONFINITE)
    assert peak(large.oracle_trace("one-shot"), first.step) * math.sqrt(128) > 32752


@pytest.mark.slow
def test_alpha_brings_it_into_range(large):
    judgement = judged(large, alpha="0.125")
    assert not judgement.missing
    assert judgement.first_divergence is None
    assert judgement.worst.ratio <= 4
    assert judgement.exit_code is ExitCode.PARITY


def peak(trace, name):
    """Largest absolute value of a step."""
    return next(record.abs_max for key, record in trace.records.items() if key.step == name)


class PlainNorm(RMSNorm):
    """RMSNorm with squares written out, as ports have it."""

    def forward(self, x, axis=1):
        normed = x * torch.rsqrt(x.square().mean(dim=axis, keepdim=True) + self.eps)
        return normed if self.weight is None else (normed.transpose(axis, -1) * self.weight).transpose(axis, -1)


@pytest.mark.slow
def test_plain_squares_are_found_though_nothing_is_nan(tmp_path):
    """At a root mean square of 100 and more they overflow, and the norm returns zeros: no NaN, no infinity, no text."""
    harness = Harness(tmp_path, residual.write(tmp_path / "checkpoint", factor=64.0))
    backend = Backend.load(harness.checkpoint, ARITHMETIC, context="64")
    norm = backend._program.model.decoder.layers[5].input_layernorm
    norm.__class__ = PlainNorm
    judgement = harness.judge(backend, ARITHMETIC, "one-shot")
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.first_divergence.step == "text.layers.5.input_layernorm"
    assert judgement.first_divergence.status is Status.INTRODUCED
    assert judgement.first_divergence.lockstep.error > 0.01
    assert math.isfinite(judgement.first_divergence.lockstep.error)
    assert len(judgement.introduced) <= 3
