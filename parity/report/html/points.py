"""What the figure of error against depth is drawn of: every step of a scenario in execution order, by candidate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from parity.judging.judgement import Judgement
from parity.judging.verdict import Deviation, StepVerdict
from parity.report.address import address_of
from parity.traces.trace import Key

MOST_POINTS = 4096
"""Points of a figure: more than a screen has columns. With more steps than that, a point is the worst of a few."""


@dataclass(frozen=True)
class Series:
    """One candidate in one dtype.

    Attributes:
        number: its colour.
        label: who it is.
        steps: by point, the worst where a point is several; None where it has no such step.
    """

    number: int
    label: str
    steps: tuple[StepVerdict | None, ...]


@dataclass(frozen=True)
class Segment:
    """A stretch of the depth: a phase or a tower (level 0), a layer (level 1)."""

    start: int
    stop: int
    level: int
    label: str
    long: str


@dataclass(frozen=True)
class Points:
    """All of it. `each` says how many steps a point stands for at most."""

    scenario: str
    keys: tuple[Key, ...]
    series: tuple[Series, ...]
    segments: tuple[Segment, ...]
    steps: int
    each: int


def points(scenario: str, judgements: Sequence[Judgement], *, most: int = MOST_POINTS) -> Points:
    """Align the judgements of one scenario."""
    every = places(judgements)
    each = max(1, math.ceil(len(every) / most))
    groups = [every[start : start + each] for start in range(0, len(every), each)]
    series = tuple(_series(number, judgement, groups) for number, judgement in enumerate(judgements))
    keys = tuple(_worst_key(group, at, series) for at, group in enumerate(groups))
    return Points(
        scenario=scenario,
        keys=keys,
        series=series,
        segments=tuple(_segments(keys)),
        steps=len(every),
        each=each,
    )


def places(judgements: Sequence[Judgement]) -> list[Key]:
    """Every step of any judgement in execution order; what only some emit stands at the end of its phase."""
    phases: dict[str, dict[Key, None]] = {}
    for judgement in sorted(judgements, key=lambda one: -len(one.steps)):
        for step in judgement.steps:
            phases.setdefault(step.phase, {})[step.key] = None
    return [key for keys in phases.values() for key in keys]


def label_of(judgement: Judgement) -> str:
    """A judgement's name in the legends, e.g. ``mlx float32``."""
    return f"{judgement.candidate} {judgement.dtype}"


def _series(number: int, judgement: Judgement, groups: Sequence[Sequence[Key]]) -> Series:
    found = {step.key: step for step in judgement.steps}
    members = [[found[key] for key in group if key in found] for group in groups]
    worst = tuple(max(group, key=_weight, default=None) for group in members)
    return Series(number, label_of(judgement), worst)


def _worst_key(group: Sequence[Key], at: int, series: Sequence[Series]) -> Key:
    steps = [step for one in series if (step := one.steps[at]) is not None]
    return max(steps, key=_weight).key if steps else group[0]


def _weight(step: StepVerdict) -> tuple[bool, float]:
    """A step with a fault of its own stands for its neighbours, whatever they err."""
    return step.status.origin, _or_zero(step.ratio)


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def ratio_of(deviation: Deviation | None) -> float | None:
    """Its ratio, None where there is none or it is not a number."""
    return None if deviation is None or math.isnan(deviation.ratio) else deviation.ratio


def _segments(keys: Sequence[Key]) -> list[Segment]:
    located = [address_of(key.step) for key in keys]
    several = len({key.phase for key in keys}) > 1
    tops = [key.phase if several else place.tower for key, place in zip(keys, located, strict=True)]
    layers = [
        (key.phase, place.scope, place.layer) if place.layer is not None else None
        for key, place in zip(keys, located, strict=True)
    ]
    found = [Segment(start, stop, 0, tops[start], tops[start]) for start, stop in _stretches(tops)]
    for start, stop in _stretches(layers):
        if (at := layers[start]) is not None:
            phase, scope, layer = at
            found.append(Segment(start, stop, 1, str(layer), f"{scope}.{layer}{f' ({phase})' if several else ''}"))
    return found


def _stretches(values: Sequence[object]) -> list[tuple[int, int]]:
    """Where runs of equal values begin and end."""
    starts = [at for at in range(len(values)) if at == 0 or values[at] != values[at - 1]]
    return list(zip(starts, [*starts[1:], len(values)], strict=True))
