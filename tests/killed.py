"""A set of one golden in the folder that one is in, for processes that are killed."""

from __future__ import annotations

from pathlib import Path

from parity.golden.sets import Entry, GoldenSet

SET = "tests.killed:golden_set"


def golden_set() -> GoldenSet:
    """Of the toy."""
    return GoldenSet(Path("goldens"), (Entry("toy", "toy", None),), str(Path("checkpoint").resolve()), "tests.toy:Toy")
