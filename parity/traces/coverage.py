"""What a candidate emits: in lockstep values are exact just there, so the baseline is held to the same places."""

from __future__ import annotations

from parity.traces.trace import Key, Trace

Missing = frozenset[Key]
"""Records of the oracle that a run does not have, or has in another shape: nothing replaces the values there."""

NOTHING: Missing = frozenset()


def missing(*, oracle: Trace, run: Trace | None) -> Missing:
    """Where a lockstep run went on with its own values; nothing where there is no such run."""
    if run is None:
        return NOTHING
    held = {key for key, record in run.records.items() if key in oracle.records}
    return frozenset(
        key
        for key, record in oracle.records.items()
        if key not in held or tuple(run.records[key].shape) != tuple(record.shape)
    )
