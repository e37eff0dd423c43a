"""Which steps get a page of their own: not all two thousand of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from parity.judging.judgement import Judgement
from parity.judging.verdict import StepVerdict
from parity.report.fold import split

INTRODUCED = 8
"""Introduced steps of a judgement that get a page; of the same step in many layers, the first."""
WORST = 6
"""Steps that get one because nothing errs more."""
MOST_PAGES = 48
"""Pages of one report. At 30 to 50 KB each they stay below half of the 5 MB that a report may have."""


def chosen(judgement: Judgement, *, left: int = MOST_PAGES) -> tuple[StepVerdict, ...]:
    """Steps of a judgement that get a page, the first divergence first; at most `left`."""
    first = [step for step in (judgement.first_divergence,) if step is not None]
    own = _take(judgement.introduced, INTRODUCED)
    worst = _take(sorted(_measured(judgement), key=lambda step: -step.ratio), WORST)
    return tuple(dict.fromkeys((*first, *own, *worst)))[:left]


def furthest(judgement: Judgement, number: int) -> list[StepVerdict]:
    """The steps with the largest ratios: of those that are wrong where any is, else of all."""
    wrong = [step for step in judgement.steps if step.status.diverged and step.ratio > 0]
    return sorted(wrong or _measured(judgement), key=lambda step: -step.ratio)[:number]


def _measured(judgement: Judgement) -> Iterator[StepVerdict]:
    return (step for step in judgement.steps if step.ratio > 0)


def _take(steps: Iterable[StepVerdict], number: int) -> list[StepVerdict]:
    """The first of each family: a fault in every layer is one page, not thirty."""
    families: dict[tuple[str, str], StepVerdict] = {}
    for step in steps:
        before, _, after = split(step.step)
        families.setdefault((before, after), step)
        if len(families) == number:
            break
    return list(families.values())
