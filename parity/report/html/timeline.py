"""Chunks and decode steps in order: what each fed, how far off it was, and whether the tokens agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parity.judging.judgement import Judgement
from parity.judging.verdict import StepVerdict
from parity.report.html.house import EMPTY, Room
from parity.report.html.points import label_of
from parity.report.levels import LevelScale, compact
from parity.scenario import Scenario


@dataclass(frozen=True)
class Phase:
    """One call of the forward pass: its name, how many tokens it took, and the first of them."""

    name: str
    tokens: str
    fed: str


@dataclass(frozen=True)
class Line:
    """One candidate over all phases: worst step, introduced steps, tokens that agree."""

    label: str
    rooms: tuple[Room, ...]
    introduced: tuple[int, ...]
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class Timeline:
    """All of it."""

    phases: tuple[Phase, ...]
    lines: tuple[Line, ...]


def timeline(
    judgements: Sequence[Judgement], scenario: Scenario | None, scale: LevelScale, pieces: Mapping[int, str]
) -> Timeline | None:
    """The phases of one scenario; None where there is a single one."""
    names = list(dict.fromkeys(step.phase for judgement in judgements for step in judgement.steps))
    if len(names) < 2:
        return None
    phases = tuple(_phase(name, scenario, pieces) for name in names)
    return Timeline(phases, tuple(_line(judgement, names, scale) for judgement in judgements))


def _phase(name: str, scenario: Scenario | None, pieces: Mapping[int, str]) -> Phase:
    chunk = next((chunk for chunk in scenario.chunks if chunk.phase == name), None) if scenario else None
    if chunk is None or chunk.tokens is None:
        return Phase(name, "", "")
    first = chunk.tokens[0][0]
    fed = pieces.get(first, f"#{first}") + (" …" if chunk.length > 1 else "")
    return Phase(name, f"{chunk.length:,}", fed)


def _line(judgement: Judgement, names: Sequence[str], scale: LevelScale) -> Line:
    phases = {name: [step for step in judgement.steps if step.phase == name] for name in names}
    return Line(
        label=label_of(judgement),
        rooms=tuple(_worst(steps, scale) for steps in phases.values()),
        introduced=tuple(sum(step.status.origin for step in steps) for steps in phases.values()),
        tokens=tuple(_agreement(judgement, name) for name in names),
    )


def _worst(steps: Sequence[StepVerdict], scale: LevelScale) -> Room:
    measured = [step for step in steps if not math.isnan(step.ratio)]
    if not measured:
        return EMPTY
    worst = max(measured, key=lambda step: step.ratio)
    own = any(step.status.origin for step in steps)
    return Room(scale.level(worst.ratio), compact(worst.ratio), worst.step, own=own)


def _agreement(judgement: Judgement, phase: str) -> str:
    tokens = [token for token in judgement.tokens if token.phase == phase]
    return f"{sum(token.same for token in tokens)} of {len(tokens)}" if tokens else "–"
