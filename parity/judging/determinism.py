"""Whether a candidate's two runs agree where they must: the same numbers in, the same numbers out."""

from __future__ import annotations

from parity.dtypes import numpy_dtype
from parity.traces.trace import Key, Trace


def unsteady(*, oracle: Trace, free: Trace | None, lockstep: Trace | None) -> Key | None:
    """The first step at which free run and lockstep run differ though all that came before was the same; or None.

    Steps are walked as the lockstep run emitted them, up to the first whose value was replaced by another one: from
    there on the two runs compute from different numbers, and may differ.
    """
    if free is None or lockstep is None:
        return None
    for key in lockstep.records:
        if key in free.records and not _equal(key, free, lockstep):
            return key
        if _replaced(key, oracle=oracle, lockstep=lockstep):
            return None
    return None


def _equal(key: Key, one: Trace, other: Trace) -> bool:
    """Whether both hold the same bits; a writer that gives no digests is asked for its tensors."""
    first, second = one.records[key], other.records[key]
    if first.digest and second.digest:
        return one.same(key, other)
    values = one.tensor(key), other.tensor(key)
    if values[0] is None or values[1] is None:
        return True
    return first.shape == second.shape and values[0].tobytes() == values[1].tobytes()


def _replaced(key: Key, *, oracle: Trace, lockstep: Trace) -> bool:
    """Whether lockstep handed back another value than the candidate's own; taken for granted where none was kept."""
    if key not in oracle.records:
        return False
    true, own = oracle.tensor(key), lockstep.tensor(key)
    if true is None or own is None:
        return True
    return true.shape == own.shape and true.astype(numpy_dtype(lockstep.records[key].dtype)).tobytes() != own.tobytes()
