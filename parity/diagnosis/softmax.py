"""Generic causes of a step that is a softmax: scores of another size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from parity.diagnosis.evidence import Evidence, flat
from parity.diagnosis.hypothesis import Hypothesis
from parity.diagnosis.numerals import factor, span
from parity.traces.measure import Float

WIDEST, FINEST = 64.0, 1e-9
"""Scores are tried up to so many times as large, or as small; and told apart to this share."""
TRIED = 49
ONE = 1e-9
"""Weights of a softmax sum to 1 to this."""


def softmax(scores: Float, axis: int) -> Float:
    """Exponentials over their sum; zero where all are minus infinity."""
    highest = scores.max(axis, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(highest), highest, 0.0))
    total = weights.sum(axis, keepdims=True)
    shares: Float = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return shares


def softmaxes(evidence: Evidence) -> Iterator[Hypothesis]:
    """A softmax of scores that are so many times as large is that power of the weights, which are summed to 1 again."""
    for axis in range(-1, -evidence.pieces[0].oracle.ndim - 1, -1):
        if not all(_is_softmax(piece.oracle, axis) for piece in evidence.pieces):
            continue
        with np.errstate(divide="ignore"):
            logs = [np.log(piece.oracle) for piece in evidence.pieces]

        def weights(times: float, axis: int = axis, logs: Sequence[Float] = logs) -> list[Float]:
            return [softmax(np.where(np.isfinite(log), log * times, -np.inf), axis) for log in logs]

        best = least(lambda times, weights=weights: _left(evidence, weights(times)))  # type: ignore[misc]
        yield instead(evidence, "scores", f"the scores are multiplied by {factor(best)}", weights(best), freedom=1)
        yield from _sums(evidence, axis)


def _sums(evidence: Evidence, axis: int) -> Iterator[Hypothesis]:
    """Weights in proportion that do not sum to 1, as with a further score that is then left out."""
    sums = [piece.candidate.sum(axis, keepdims=True) for piece in evidence.pieces]
    made = [piece.oracle * total for piece, total in zip(evidence.pieces, sums, strict=True)]
    each = flat(total[total != 0] for total in sums)
    if each.size:
        says = f"its weights sum to {span((float(each.min()), float(each.max())))} instead of 1"
        yield instead(evidence, "sums", says, made, freedom=each.size)


def least(left: Callable[[float], float]) -> float:
    """The factor that leaves least: the best of a grid, then by golden section."""
    grid = np.geomspace(1 / WIDEST, WIDEST, TRIED)
    best = int(np.argmin([left(float(times)) for times in grid]))
    low, high = (math.log(grid[index]) for index in (max(0, best - 1), min(TRIED - 1, best + 1)))
    golden = (math.sqrt(5) - 1) / 2
    while high - low > FINEST:
        one, other = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, other) if left(math.exp(one)) < left(math.exp(other)) else (one, high)
    return math.exp((low + high) / 2)


def instead(evidence: Evidence, name: str, says: str, values: Sequence[Float], freedom: int = 0) -> Hypothesis:
    """The cause that makes these values of each piece instead of the oracle's."""
    pairs = zip(evidence.pieces, values, strict=True)
    effect = flat(np.where(piece.counted, value - piece.oracle, 0.0) for piece, value in pairs)
    return Hypothesis(name, effect, says, freedom=freedom)


def _left(evidence: Evidence, values: Sequence[Float]) -> float:
    pairs = zip(evidence.pieces, values, strict=True)
    return sum(float(np.square(np.where(piece.counted, x - piece.candidate, 0.0)).sum()) for piece, x in pairs)


def _is_softmax(value: Float, axis: int) -> bool:
    total = value.sum(axis)
    live = total != 0
    return bool(value.shape[axis] > 1 and live.any() and (value >= 0).all() and np.allclose(total[live], 1, atol=ONE))
