"""Greedy choices: a token that differs counts where the oracle's lead exceeds the noise of its logits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parity.dtypes import as_float64
from parity.judging.verdict import TokenVerdict
from parity.traces.trace import Key, Trace


@dataclass(frozen=True, eq=False)
class Choices:
    """The oracle's greedy choices in one phase.

    Attributes:
        logits: ``[batch, token, vocabulary]``.
        real: where tokens are no padding, ``[batch, token]``.
    """

    phase: str
    logits: NDArray[np.float64]
    real: NDArray[np.bool_]

    @property
    def places(self) -> list[tuple[int, int]]:
        """Row and token of each real token."""
        return [(row, token) for row, token in np.argwhere(self.real).tolist()]

    @property
    def ids(self) -> NDArray[np.int64]:
        """The tokens that are chosen, ``[batch, token]``."""
        return greedy_ids(self.logits)

    @property
    def margins(self) -> NDArray[np.float64]:
        """By how much the first choice leads the second, ``[batch, token]``."""
        second, first = np.sort(self.logits, axis=-1)[..., -2:].transpose(2, 0, 1)
        margins: NDArray[np.float64] = first - second
        return margins

    def noise(self, baseline: NDArray[np.float64]) -> NDArray[np.float64]:
        """A baseline's largest error of a logit at each token, ``[batch, token]``."""
        largest: NDArray[np.float64] = np.max(np.abs(baseline - self.logits), axis=-1)
        return largest


def choices(oracle: Trace) -> Iterator[Choices]:
    """The oracle's greedy choices, phase after phase, as far as it kept its logits."""
    for chunk in oracle.scenario.chunks:
        if (true := logits_of(oracle, chunk.phase, oracle.contract.logits)) is not None:
            yield Choices(chunk.phase, true, oracle.scenario.valid(chunk.phase, true.shape[1]))


def greedy_ids(logits: NDArray[np.float64]) -> NDArray[np.int64]:
    """The token with the largest logit, the first of equals: ``[..., vocabulary]`` to ``[...]``."""
    ids: NDArray[np.int64] = np.argmax(logits, axis=-1)
    return ids


def logits_of(run: Trace | None, phase: str, step: str) -> NDArray[np.float64] | None:
    """``[batch, token, vocabulary]`` in float64; None where the run kept none in that phase."""
    key = Key(phase, step)
    tensor = run.tensor(key) if run is not None and key in run.records else None
    return None if tensor is None else as_float64(tensor)


def greedy(*, oracle: Trace, baseline: Trace | None, candidate: Trace | None, allowed: float) -> Iterator[TokenVerdict]:
    """The choice at each real token of free runs, in the phases in which oracle and candidate kept their logits.

    Args:
        oracle: its run.
        baseline: its free run, whose error is the noise; without it there is none.
        candidate: its free run.
        allowed: K; each of two logits may err by K floors, towards the other.
    """
    for true in choices(oracle):
        value, floor = (logits_of(run, true.phase, oracle.contract.logits) for run in (candidate, baseline))
        if value is None or true.logits.shape != value.shape:
            continue
        ids, others, margins = true.ids, greedy_ids(value), true.margins
        noise = np.zeros(ids.shape) if floor is None else true.noise(floor)
        for row, token in true.places:
            yield TokenVerdict(
                true.phase,
                row,
                token,
                oracle=int(ids[row, token]),
                candidate=int(others[row, token]),
                margin=float(margins[row, token]),
                noise=float(2 * allowed * noise[row, token]),
            )
