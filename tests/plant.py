"""Plants known bugs in a reference of the test process, as a worker does for a comparison."""

from __future__ import annotations

from parity.diagnosis.together import Plant
from parity.running.probe import planted


def plant_in(reference) -> Plant:
    """Runs that reference with known bugs."""
    return lambda variants, oracle, keys, missing=frozenset(): planted(
        reference, [(variant.name, variant.place) for variant in variants], oracle, keys, missing
    )
