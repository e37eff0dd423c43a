"""Known bugs, planted one at a time into the reference: each is found at its step; reorderings are not flagged."""

from __future__ import annotations

import pytest

from parity.errors import ExitCode
from parity.judging.verdict import Status
from reference.gemma3n.variants import catalogue
from tests.deviations import TAPPED
from tests.marks import quick

# Of every part of the language model; tests/variants/test_scoring.py scores a twentieth of the whole catalogue.
BUGS = (
    "ple-scale-hidden", "ple-missing", "altup-coefs-transposed", "altup-predict-not-transposed", "altup-no-plus-one",
    "kv-wrong-donor", "mask-no-window", "mask-window-plus-one", "mask-bool-added", "rope-bases-swapped",
    "rope-queries-unrotated", "attn-scale-sqrt-d", "sparsity-skipped", "sparsity-exact-topk", "sparsity-sample-std",
    "norm-one-plus-weight", "norm-epsilon", "norm-gain-off", "laurel-no-sqrt2", "embed-scale-decode",
)  # fmt: skip
REORDERINGS = ("attention-fused", "projection-split", "norm-fused")


QUICK = (
    "mask-bool-added",
    "rope-bases-swapped",
    "kv-wrong-donor",
    "altup-no-plus-one",
    "norm-epsilon",
    "norm-gain-off",
)
"""Of each kind one, which needs one chunk."""
BRIEF = {"decode": "long"}
"""What has two decode steps shows what one of eight does; every implementation is judged by it, too."""


@pytest.mark.parametrize("name", quick(BUGS, *QUICK))
def test_deviation_is_found_at_its_step(name, harness, deviant):
    """Exit 1, the right first step, and at most 3 steps flagged in lockstep."""
    variant = catalogue().get(name).at()
    judgement = harness.judge(deviant(name), "float32", BRIEF.get(variant.scenario, variant.scenario))
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.first_divergence.step == variant.first
    assert judgement.first_divergence.status is Status.INTRODUCED
    assert len({step.step for step in judgement.introduced}) <= 3


@pytest.mark.parametrize("scenario", quick(("one-shot", "long"), "one-shot"))
@pytest.mark.parametrize("name", REORDERINGS)
def test_reordering_is_not_flagged(name, scenario, harness, deviant):
    """The same mathematics in another order of operations is at parity."""
    judgement = harness.judge(deviant(name), "float32", scenario)
    assert judgement.first_divergence is None
    assert judgement.exit_code is ExitCode.PARITY


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("Missing", {TAPPED: Status.UNCOVERED}),
        pytest.param("Renamed", {TAPPED: Status.UNCOVERED, TAPPED + "s": Status.UNEXPECTED}, marks=pytest.mark.slow),
        pytest.param("Doubled", {TAPPED: Status.UNEXPECTED}, marks=pytest.mark.slow),
    ],
)
def test_wrong_tap_never_passes(name, statuses, harness, deviant):
    """A missing, renamed or doubled tap: exit 5 and the step's name."""
    judgement = harness.judge(deviant(name), "float32", "one-shot")
    assert judgement.exit_code is ExitCode.INCOMPLETE
    assert {step.step: step.status for step in judgement.missing} == statuses


@pytest.mark.parametrize(
    ("name", "status"),
    [pytest.param("Transposed", Status.CONTRACT, marks=pytest.mark.slow), ("NotFinite", Status.NONFINITE)],
)
def test_broken_values_are_named(name, status, harness, deviant):
    """Swapped axes break the contract; a NaN is a fault of the step that has it first."""
    first = harness.judge(deviant(name), "float32", "one-shot").first_divergence
    assert (first.step, first.status) == (TAPPED, status)


def test_two_faults_are_both_introduced(harness, deviant):
    """One lockstep run finds every independent fault, not only the first."""
    names = ("rope-bases-swapped", "ple-missing")
    found = {step.step for step in harness.judge(deviant(*names), "float32", "one-shot").introduced}
    assert {catalogue().get(name).first for name in names} <= found
