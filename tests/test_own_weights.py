"""Candidates with weights of their own, each held to a reference that has them too."""

from __future__ import annotations

import json

import pytest

ASKED = ("compare", "--reference", "tests.weighted:Read", "--scenario", "toy", "--no-diagnosis", "--json")


def judged(parity, *names):
    """Exit code, and the verdict and step of each candidate."""
    code, out, _ = parity(*ASKED, "--candidates", ",".join(f"tests.weighted:{name}" for name in names))
    found = json.loads(out)["judgements"]
    return code, [(one["candidate"].partition(":")[2], one["verdict"]) for one in found]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Quantized"], (0, [("Quantized", "parity")])),
        (["Silent"], (1, [("Silent", "diverged")])),
        (["Quantized", "Port", "Silent"], (1, [("Quantized", "parity"), ("Port", "parity"), ("Silent", "diverged")])),
    ],
)
def test_each_is_held_to_its_own(parity, names, expected):
    """In the order in which they were asked for."""
    assert judged(parity, *names) == expected


def test_one_that_cannot_say_which_is_a_verdict(parity):
    """And the others are judged."""
    assert judged(parity, "Failing", "Port") == (3, [("Failing", "crashed"), ("Port", "parity")])
