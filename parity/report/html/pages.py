"""A step's own page: who the step is, what the judge says of it, and where in the tensor the error sits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from parity.contract import Step
from parity.judging.judgement import Judgement
from parity.judging.verdict import StepVerdict
from parity.report import sentences
from parity.report.detail import Column, Detail, Report
from parity.report.html.figures import HeatFigure, HistogramFigure, heat_figure, histogram_figure
from parity.report.levels import LevelScale
from parity.report.numbers import error, number
from parity.traces.trace import Key

NUMBERS = (
    ("mean", "mean"), ("standard deviation", "std"), ("root mean square", "rms"), ("least", "min"), ("greatest", "max"),
    ("largest magnitude", "abs_max"),
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """What the template shows of one step; `worth` says what its ok means, and is empty where it is none."""

    id: str
    detail: Detail
    verdict: StepVerdict
    step: Step | None
    worth: str
    columns: tuple[str, ...]
    statistics: tuple[tuple[str, ...], ...]
    layers: tuple[HeatFigure, ...]
    channels: HeatFigure | None
    histograms: tuple[HistogramFigure, ...]


class Judged(NamedTuple):
    """A step's verdict, and how many floors it was allowed."""

    verdict: StepVerdict
    allowed: float


def identities(report: Report) -> dict[tuple[str, str, str], dict[Key, str]]:
    """Ids of pages by judgement (candidate, dtype, scenario) and step. Names of others never become ids."""
    found: dict[tuple[str, str, str], dict[Key, str]] = {}
    for number_, detail in enumerate(report.details, 1):
        keys = found.setdefault(detail.of[:3], {})
        keys[Key(detail.phase, detail.step, detail.occurrence)] = f"step-{number_}"
    return found


def pages(report: Report, scale: LevelScale) -> Iterator[Page]:
    """A page for every step whose details were taken."""
    verdicts = {
        (*whose(judgement), step.phase, step.step, step.occurrence): Judged(step, judgement.allowed)
        for judgement in report.comparison.judgements
        for step in judgement.steps
    }
    for number_, detail in enumerate(report.details, 1):
        if detail.of in verdicts:
            yield _page(f"step-{number_}", detail, verdicts[detail.of], report, scale)


def whose(judgement: Judgement) -> tuple[str, str, str]:
    """What tells a judgement from the others of a comparison."""
    return judgement.candidate, judgement.dtype, judgement.scenario


def _page(identity: str, detail: Detail, judged: Judged, report: Report, scale: LevelScale) -> Page:
    return Page(
        id=identity,
        detail=detail,
        verdict=judged.verdict,
        step=report.comparison.contract.get(detail.step),
        worth=sentences.hides(judged.verdict, judged.allowed),
        columns=tuple(_heading(column) for column in detail.columns),
        statistics=tuple(_statistics(detail.columns)),
        layers=tuple(heat_figure(heat, scale) for heat in detail.layers),
        channels=heat_figure(detail.channels, scale) if detail.channels else None,
        histograms=tuple(histogram_figure(one) for one in (detail.errors, detail.values) if one is not None),
    )


def _heading(column: Column) -> str:
    return column.role if column.role == "reference" else f"{column.role}, {column.mode}"


def _statistics(columns: Sequence[Column]) -> Iterator[tuple[str, ...]]:
    """Rows of the table: a label, then each party's."""
    yield "dtype", *(column.dtype for column in columns)
    yield "shape", *("×".join(map(str, column.shape)) or "scalar" for column in columns)
    yield "error", *("–" if column.error is None else error(column.error) for column in columns)
    for label, name in NUMBERS:
        yield label, *(number(getattr(column, name)) for column in columns)
    yield "zeros", *(f"{column.zero_fraction:.1%}" for column in columns)
    for label, name in (("NaN", "nan_count"), ("infinite", "inf_count")):
        if any(getattr(column, name) for column in columns):
            yield label, *(f"{getattr(column, name):,}" for column in columns)


def by_series(
    judgements: Sequence[Judgement], identified: Mapping[tuple[str, str, str], Mapping[Key, str]]
) -> dict[int, Mapping[Key, str]]:
    """Ids of pages by the number of a scenario's judgement."""
    return {at: identified.get(whose(judgement), {}) for at, judgement in enumerate(judgements)}
