"""Error against depth in one line of text: a character stands for a few steps, its height for the worst of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from parity.judging.judgement import Judgement
from parity.judging.verdict import StepVerdict
from parity.report.address import address_of
from parity.report.fold import fold

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.:-=+*#"
BETWEEN = " "


@dataclass(frozen=True)
class Spark:
    """One line.

    Attributes:
        text: a character each few steps.
        beyond: which of them are beyond what is allowed.
    """

    text: str
    beyond: tuple[bool, ...]


@dataclass(frozen=True)
class Sparkline:
    """The lines of both runs, and below them where in the model one is: `places`, which are of what `axis` says."""

    lockstep: Spark
    free: Spark
    places: str
    axis: str


def sparkline(judgement: Judgement, width: int, *, bars: str = BARS) -> Sparkline:
    """Draw a judgement at most `width` characters wide.

    The lowest bar is within what is allowed; each higher one is a power of ten or more, up to the largest ratio.
    """
    groups = _groups(judgement.steps, width)
    ratios = [value for step in judgement.steps for value in _ratios(step) if value < math.inf]
    top = max([judgement.allowed * 10.0, *ratios])
    lines = []
    for mode in ("lockstep", "free"):
        worst = [_worst(group, mode) for group in groups]
        text = "".join(_bar(value, judgement.allowed, top, bars) for value in worst)
        lines.append(Spark(text, tuple(value > judgement.allowed for value in worst)))
    several = len({step.phase for step in judgement.steps}) > 1
    return Sparkline(lines[0], lines[1], _places(groups, several=several), "phase" if several else "layer")


def _groups(steps: Sequence[StepVerdict], width: int) -> list[Sequence[StepVerdict]]:
    """Steps in as many equal groups as there is room for."""
    number = max(1, min(width, len(steps)))
    edges = [round(at * len(steps) / number) for at in range(number + 1)]
    return [steps[start:stop] for start, stop in pairwise(edges)]


def _ratios(step: StepVerdict) -> Iterator[float]:
    return (run.ratio for run in (step.lockstep, step.free) if run is not None and not math.isnan(run.ratio))


def _worst(group: Sequence[StepVerdict], mode: str) -> float:
    """The largest ratio, infinite for a fault that has none, NaN where nothing was measured."""
    runs = [step.lockstep if mode == "lockstep" else step.free for step in group]
    ratios = [run.ratio for run in runs if run is not None and not math.isnan(run.ratio)]
    if any(step.status.origin and step.ratio != step.ratio for step in group):
        return math.inf
    return max(ratios, default=math.nan)


def _bar(ratio: float, allowed: float, top: float, bars: str) -> str:
    if math.isnan(ratio):
        return BETWEEN
    if ratio <= allowed:
        return bars[0]
    share = 1.0 if math.isinf(ratio) else math.log(ratio / allowed) / math.log(top / allowed)
    return bars[max(1, math.ceil(share * (len(bars) - 1)))]


def _places(groups: Sequence[Sequence[StepVerdict]], *, several: bool) -> str:
    """Phases or layers below the characters at which they begin, as many as have room."""
    line, free, before = [" "] * len(groups), 0, ""
    for at, group in enumerate(groups):
        label = _label(group, several=several)
        if label == before or not label:
            continue
        before = label
        if at >= free and at + len(label) <= len(line):
            line[at : at + len(label)] = label
            free = at + len(label) + 1
    return "".join(line).rstrip()


def _label(group: Sequence[StepVerdict], *, several: bool) -> str:
    """The phase, or the layer that most of a group's steps are in."""
    if several:
        return fold([group[0].phase])[0]
    layers = [address.layer for step in group if (address := address_of(step.step)).layer is not None]
    return str(max(set(layers), key=layers.count)) if layers else ""
