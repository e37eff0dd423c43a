"""What a divergence comes to: the logits and the greedy choices of the free run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parity.judging.greedy import greedy_ids, logits_of
from parity.traces.trace import Trace


@dataclass(frozen=True)
class Effect:
    """What a candidate's divergence comes to at the end of the free run.

    Attributes:
        logits: relative error over all tokens, in L2.
        same: how many greedy choices are the oracle's.
        tokens: of how many.
        last: whether it is of each row's last token alone, where the candidate has another number of tokens.
    """

    logits: float
    same: int
    tokens: int
    last: bool = False


def effect(*, oracle: Trace, candidate: Trace | None) -> Effect:
    """What the free run's logits differ by, over all real tokens of all phases."""
    assert candidate is not None  # a trial has both runs
    step, last = oracle.contract.logits, False
    error = power = 0.0
    same: list[bool] = []
    for chunk in oracle.scenario.chunks:
        true, value = (logits_of(run, chunk.phase, step) for run in (oracle, candidate))
        assert true is not None  # an audit keeps all tensors
        assert value is not None
        real = oracle.scenario.valid(chunk.phase, true.shape[1])
        if true.shape != value.shape:
            true, value, real, last = true[:, -1:], value[:, -1:], real[:, -1:], True
        true, value = true[real], value[real]
        error, power = error + float(np.sum((value - true) ** 2)), power + float(np.sum(true**2))
        same += (greedy_ids(value) == greedy_ids(true)).tolist()
    return Effect(float(np.sqrt(error / power)), sum(same), len(same), last)
