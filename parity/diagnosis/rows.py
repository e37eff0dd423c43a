"""How much of a known bug is in errors that are mostly noise: one coefficient from many rows, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parity.traces.measure import Float

SIGMAS = 8.0
"""So many standard deviations from no bug. With the signs of five clean candidates' errors drawn anew 2,000 times, any
of 2,700 possible bugs passed in 0.15 % of the draws at most; with 6 in 0.75 %."""
EQUAL_ROWS = 4.0
"""Fewer rows that count say nothing of how much they differ."""
PLACES = 8.0
"""Of a bug that may be of any size so many tensors must say the same: of fewer, one in 100 right candidates has some
step whose rounding errors happen to be alike."""
AROUND_ONE = 0.25
"""A bug is as large as it is: its coefficient is 1, and noise moves it by less than this where it is sure. One that is
wrong by degrees may be any larger, and the other way round, but no smaller than this share of its variant."""


@dataclass(frozen=True, eq=False)
class Rows:
    """An error e beside the effect d of a known bug, row by row: a row is all values of one place.

    Each value has the weight 1 / (x^2 + the row's mean of x^2), for rounding errs in proportion to the value x.

    Attributes:
        onto: ``<e, d>`` of each row.
        power: ``<d, d>`` of each row.
        energy: ``<e, e>`` of all rows.
    """

    onto: Float
    power: Float
    energy: float

    @classmethod
    def of(cls, *, true: Float, error: Float, effect: Float) -> Rows:
        """The rows of one tensor; all three have its shape."""
        squared = np.square(true)
        scale = squared + squared.mean(axis=-1, keepdims=True)
        weight = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0.0)
        along = np.atleast_1d(weight * effect)
        onto, power = (along * error).sum(-1).ravel(), (along * effect).sum(-1).ravel()
        return cls(onto, power, float((weight * error * error).sum()))

    @property
    def whole(self) -> Rows:
        """All of them as one row: errors of one tensor may hang together, as those of equal pixels do."""
        return Rows(np.atleast_1d(self.onto.sum()), np.atleast_1d(self.power.sum()), self.energy)


@dataclass(frozen=True)
class Share:
    """What rows come to.

    Attributes:
        alpha: how many times the bug's effect is in the error, in least squares.
        deviation: its standard deviation, of rows as independent samples, within which errors may hang together
            (White 1980, clustered).
        rows: how many rows of equal power those are worth.
        explained: the share of the error's weighted energy.
    """

    alpha: float
    deviation: float
    rows: float
    explained: float

    @classmethod
    def of(cls, pieces: Sequence[Rows]) -> Share:
        """What all rows together show; an effect of no weight, as where the oracle is all zero, says nothing."""
        onto, power = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("onto", "power"))
        whole, energy = float(power.sum()), sum(piece.energy for piece in pieces)
        if not whole > 0.0:
            return cls(alpha=0.0, deviation=math.inf, rows=0.0, explained=0.0)
        alpha = float(onto.sum()) / whole
        deviation = float(np.sqrt(np.square(onto - alpha * power).sum())) / whole
        rows = whole**2 / float(np.square(power).sum())
        return cls(alpha, deviation, rows, alpha**2 * whole / energy if energy else 0.0)

    @property
    def sigmas(self) -> float:
        """How many standard deviations the coefficient is from none."""
        return self.alpha / self.deviation if self.deviation else math.copysign(math.inf, self.alpha)

    @property
    def sure(self) -> bool:
        """Whether the bug is there, and whole."""
        return self.sigmas >= SIGMAS and self.rows >= EQUAL_ROWS and abs(self.alpha - 1.0) <= AROUND_ONE

    @property
    def sure_by_degrees(self) -> bool:
        """Whether the bug is there, of whatever size and sign: what is asked of the rows of many tensors, one each."""
        return abs(self.sigmas) >= SIGMAS and self.rows >= PLACES and abs(self.alpha) >= AROUND_ONE
