"""A possible cause as what it would have caused, and how well that explains an error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from parity.diagnosis.evidence import Evidence
from parity.diagnosis.numerals import factor, said
from parity.judging.cause import Cause
from parity.judging.judge import ALLOWED
from parity.traces.measure import Float
from parity.variant import Variant

UNEXPLAINED = 1e-3
"""Of an error far above the noise so much may stay unexplained: a rounding inside the step (of a bug that quantises)
falls the other way next to a boundary, for one value in some 10,000 between float32 and bfloat16, which then errs with
12 times the mean energy."""
ENERGY = ALLOWED**2
"""The judge allows K floors of error, which is K² = 16 times the floor's energy: as much may be left of a step when its
cause is taken away, for that much is no fault."""
FAINT, DOUBT = 0.1, 2.0
"""What is left may be a tenth of the error at most, or twice the floor's own energy: where an error is a few floors,
16 floors' energy would let any cause pass."""
SAME = 1e-6
"""Where an error is far above the noise, two causes are equally true whose shares differ by no more than this. It is
the square of a thousandth, and effects that differ by less than a thousandth are the same bug in other words."""
LEAST = 0.05
"""What is near an error is so much of it at least, and at most as many times."""
HOPELESS = 0.25
"""Where so much of an error is noise, no cause is named."""


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One possible cause.

    Attributes:
        name: of the variant, or of the generic cause.
        effect: what it would add to the oracle's values, in one row like `Evidence.error`.
        says: what it means; where `scaled`, a format that takes `alpha` and `factor`, which is 1 + alpha.
        scaled: whether any coefficient is the cause; else it must be 1.
        freedom: how many numbers were fitted to the error to make it.
        slack: a share that may stay unexplained besides.
        variant: the known bug; None for a generic cause.
        away: whether the bug is known at steps of another kind.
    """

    name: str
    effect: Float
    says: str
    scaled: bool = False
    freedom: int = 0
    slack: float = 0.0
    variant: Variant | None = None
    away: bool = False


@dataclass(frozen=True, eq=False)
class Fit:
    """One hypothesis, or several together, held against an error.

    Attributes:
        alphas: the coefficients of least squares.
        explained: the share of the error's energy that they explain with those coefficients.
        left: the share that stays unexplained with the coefficients that they must have, for each number that was
            fitted a little more.
    """

    hypotheses: tuple[Hypothesis, ...]
    alphas: tuple[float, ...]
    explained: float
    left: float

    @property
    def near(self) -> bool:
        """Whether a single cause is of the error's size; what must be a thousandth of itself is something else."""
        return LEAST <= abs(self.alphas[0]) <= 1 / LEAST

    @property
    def rank(self) -> tuple[bool, int, bool, float]:
        """Of equals a known bug says more than a generic cause, and a cause of fewer numbers more than one of many.

        Of known bugs one of just that step says more than one of steps of its kind.
        """
        known = all(each.variant for each in self.hypotheses)
        fitted = sum(each.freedom + each.scaled for each in self.hypotheses)
        return not known, fitted, any(each.away for each in self.hypotheses), self.left

    def causes(self, alike: Sequence[Hypothesis] = ()) -> tuple[Cause, ...]:
        """What a report says of it."""
        return tuple(
            Cause(
                name=each.name,
                meaning=each.says.format(alpha=said(alpha), factor=factor(1 + alpha)) if each.scaled else each.says,
                alpha=alpha,
                explained=self.explained,
                variant=each.variant is not None,
                source=each.variant.source if each.variant else "",
                alike=tuple(other.name for other in alike),
            )
            for each, alpha in zip(self.hypotheses, self.alphas, strict=True)
        )


def fit(evidence: Evidence, *hypotheses: Hypothesis) -> Fit:
    """Explain an error by least squares."""
    effects = [each.effect for each in hypotheses]
    gram = np.array([[float(np.vdot(one, other)) for other in effects] for one in effects])
    onto = np.array([float(np.vdot(effect, evidence.error)) for effect in effects])
    alphas, *_ = np.linalg.lstsq(gram, onto, rcond=None)
    fixed = np.array([a if each.scaled else 1.0 for a, each in zip(alphas, hypotheses, strict=True)])
    best, held = (_left(evidence, effects, coefficients) for coefficients in (alphas, fixed))
    freedom = sum(each.freedom + each.scaled for each in hypotheses)
    spare = evidence.size - freedom
    held = held * evidence.size / spare if spare > 0 else math.inf
    return Fit(hypotheses, tuple(map(float, alphas)), 1.0 - best, held)


def _left(evidence: Evidence, effects: Sequence[Float], coefficients: Float) -> float:
    """The share of the energy behind them; summed from the rest itself, for it may be a millionth of the whole."""
    rest = evidence.error.copy()
    for effect, coefficient in zip(effects, coefficients, strict=True):
        rest -= coefficient * effect
    return evidence.unexplained(rest)


def allowance(evidence: Evidence) -> float:
    """The share that may stay unexplained: what correct arithmetic, and nothing else, leaves."""
    if evidence.noise > HOPELESS:
        return 0.0
    return max(UNEXPLAINED, min(ENERGY * evidence.noise, FAINT), DOUBT * evidence.noise)


def convincing(evidence: Evidence, found: Fit) -> bool:
    """Whether nothing but noise is left of the error."""
    slack = max((each.slack for each in found.hypotheses), default=0.0)
    allowed = allowance(evidence)
    return allowed > 0.0 and found.left <= max(allowed, slack)


def choose(evidence: Evidence, fits: Sequence[Fit]) -> tuple[Fit, tuple[Hypothesis, ...]] | None:
    """The cause that is named: of those that leave nothing but noise the one that says most; known bugs like it."""
    good = [found for found in fits if convincing(evidence, found)] or _pairs(evidence, fits)
    if not good:
        return None
    least = min(found.left for found in good)
    same = ENERGY * evidence.noise + SAME  # what noise, and then rounding, can make of two that are equally true
    best = min((found for found in good if found.left <= least + same), key=lambda found: found.rank)
    likes = [found for found in good if found is not best and found.left <= best.left + same]
    single = [found.hypotheses[0] for found in likes if len(found.hypotheses) == 1]
    return best, tuple(each for each in single if each.variant)


def _pairs(evidence: Evidence, fits: Sequence[Fit]) -> list[Fit]:
    """Two known bugs at one step, fitted together, for their effects may overlap. Generic pairs would fit too much."""
    single = [found.hypotheses[0] for found in fits if found.hypotheses[0].variant]
    share = _shares(evidence, single)
    enough = 1 - 2 * allowance(evidence)  # as products say; what is left is measured only where it matters
    both = [
        fit(evidence, single[one], single[other])
        for one, other in combinations(range(len(single)), 2)
        if share(one, other) >= enough
    ]
    return [found for found in both if convincing(evidence, found)]


def _shares(evidence: Evidence, hypotheses: Sequence[Hypothesis]) -> Callable[[int, int], float]:
    """What two of many explain together, from their products, which are taken once."""
    effects = [each.effect for each in hypotheses]
    gram = np.array([[float(np.vdot(one, other)) for other in effects] for one in effects])
    onto = np.array([float(np.vdot(effect, evidence.error)) for effect in effects])

    def share(*pair: int) -> float:
        alphas, *_ = np.linalg.lstsq(gram[np.ix_(pair, pair)], onto[list(pair)], rcond=None)
        return float(alphas @ onto[list(pair)]) / evidence.energy

    return share
