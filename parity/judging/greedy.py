"""Greedy choices: a token that differs counts where the oracle's lead exceeds the noise of its logits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parity.dtypes import as_float64
from parity.judging.verdict import TokenVerdict
from parity.traces.trace import Key, Trace


def greedy(*, oracle: Trace, baseline: Trace | None, candidate: Trace | None, allowed: float) -> Iterator[TokenVerdict]:
    """The choice at each real token of free runs, in the phases in which oracle and candidate kept their logits.

    Args:
        oracle: its run.
        baseline: its free run, whose error is the noise; without it there is none.
        candidate: its free run.
        allowed: K; each of two logits may err by K floors, towards the other.
    """
    for chunk in oracle.scenario.chunks:
        key = Key(chunk.phase, oracle.contract.logits)
        true, value, floor = (_logits(run, key) for run in (oracle, candidate, baseline))
        if true is None or value is None or true.shape != value.shape:
            continue
        noise = np.zeros(true.shape[:2]) if floor is None else np.max(np.abs(floor - true), axis=-1)
        valid = oracle.scenario.valid(chunk.phase, true.shape[1])
        second, first = np.sort(true, axis=-1)[..., -2:].transpose(2, 0, 1)
        for row, token in np.argwhere(valid):
            yield TokenVerdict(
                chunk.phase,
                int(row),
                int(token),
                oracle=int(np.argmax(true[row, token])),
                candidate=int(np.argmax(value[row, token])),
                margin=float(first[row, token] - second[row, token]),
                noise=float(2 * allowed * noise[row, token]),
            )


def _logits(run: Trace | None, key: Key) -> np.ndarray | None:
    """``[batch, token, vocabulary]`` in float64; None where the run has none."""
    if run is None or key not in run.records:
        return None
    tensor = run.tensor(key)
    return None if tensor is None else as_float64(tensor)
