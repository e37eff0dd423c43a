"""Tables of the page: steps worst first, greedy tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parity.judging.judgement import Judgement
from parity.judging.verdict import Deviation, Status, StepVerdict, TokenVerdict
from parity.report.html.points import label_of, places
from parity.report.levels import LevelScale
from parity.report.numbers import error, ratio
from parity.traces.trace import Key

MOST_TOKENS = 120
"""Greedy tokens of a judgement that are listed; those that differ come first into that number."""
_GRAVITY = (
    Status.INTRODUCED, Status.NONFINITE, Status.CONTRACT, Status.INHERITED, Status.UNEXPECTED, Status.UNCOVERED,
    Status.COARSE, Status.HIDDEN, Status.OK,
)  # fmt: skip
"""Of several candidates' verdicts on a step, the row shows the gravest."""


@dataclass(frozen=True)
class Cell:
    """What one candidate says of one step in one run: floors, or the error behind them."""

    level: int
    floors: str
    error: str
    floor: str


@dataclass(frozen=True)
class Row:
    """One step of one phase, of all candidates.

    Attributes:
        order: place in execution order.
        cells: lockstep and free, candidate after candidate.
    """

    order: int
    step: str
    phase: str
    status: Status
    cells: tuple[Cell, ...]
    page: str


@dataclass(frozen=True)
class Listing:
    """The steps of one scenario, worst first. `left` are those that found no room."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    left: int
    phases: tuple[str, ...]
    statuses: tuple[tuple[Status, int], ...]


_NONE = Cell(-1, "–", "–", "–")


def listing(
    judgements: Sequence[Judgement], scale: LevelScale, pages: Mapping[int, Mapping[Key, str]], *, most: int
) -> Listing:
    """List the `most` worst steps: faults first, then by ratio."""
    found = [{step.key: step for step in judgement.steps} for judgement in judgements]
    linked = {key: page for number in sorted(pages, reverse=True) for key, page in pages[number].items()}
    every = places(judgements)
    order = {key: at for at, key in enumerate(every)}
    grave = {key: min((one[key] for one in found if key in one), key=_gravity) for key in every}
    ordered = sorted(every, key=lambda key: (not grave[key].status.origin, -_worst(key, found), order[key]))[:most]
    rows = tuple(_row(order[key] + 1, grave[key], found, linked.get(key, ""), scale) for key in ordered)
    return Listing(
        columns=tuple(map(label_of, judgements)),
        rows=rows,
        left=len(every) - len(rows),
        phases=tuple(dict.fromkeys(key.phase for key in every)),
        statuses=tuple(
            (status, number) for status in _GRAVITY if (number := sum(row.status is status for row in rows))
        ),
    )


def _row(
    order: int, grave: StepVerdict, found: Sequence[Mapping[Key, StepVerdict]], page: str, scale: LevelScale
) -> Row:
    key = grave.key
    cells = tuple(_cell(run, scale) for one in found for run in _runs(one.get(key)))
    name = f"{key.step}#{key.occurrence}" if key.occurrence else key.step
    return Row(
        order=order,
        step=name,
        phase=key.phase,
        status=grave.status,
        cells=cells,
        page=page,
    )


def tokens(judgement: Judgement) -> tuple[tuple[TokenVerdict, ...], int]:
    """Greedy tokens in order, and how many more there are."""
    ordered = sorted(judgement.tokens, key=lambda token: token.same)[:MOST_TOKENS]
    kept = set(map(id, ordered))
    return tuple(token for token in judgement.tokens if id(token) in kept), len(judgement.tokens) - len(ordered)


def _gravity(step: StepVerdict) -> tuple[int, float]:
    return _GRAVITY.index(step.status), -_size(step.ratio)


def _worst(key: Key, found: Sequence[Mapping[Key, StepVerdict]]) -> float:
    return max(_size(one[key].ratio) for one in found if key in one)


def _size(value: float) -> float:
    return -1.0 if math.isnan(value) else value


def _runs(step: StepVerdict | None) -> tuple[Deviation | None, Deviation | None]:
    return (step.lockstep, step.free) if step else (None, None)


def _cell(run: Deviation | None, scale: LevelScale) -> Cell:
    if run is None:
        return _NONE
    return Cell(scale.level(run.ratio), ratio(run.ratio), error(run.error), error(run.floor))
