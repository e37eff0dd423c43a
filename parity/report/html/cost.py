"""A page of costs with its figure, a static SVG: what steps cost by themselves over depth, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from pathlib import Path

from parity.cost.result import Cost, StepCost, family_of
from parity.report.console import plain
from parity.report.cost import markdown
from parity.report.html.axis import HEIGHT, Axis
from parity.report.json import write_whole

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, which the colour-blind can tell apart; a line for each. In a report's page its own, by class."""
WIDTH, MARGIN, LINE = 1600, 260, 44
"""Width of the plot, room for the axis, and height of a line of the legend."""


def write_page(cost: Cost, written_by: str, page: Path) -> None:
    """Write the page, and its figure beside it."""
    figure = page.with_suffix(".svg")
    write_whole(figure, svg(cost))
    write_whole(page, markdown(cost, written_by, figure.name))


def svg(cost: Cost) -> str:
    """The whole figure."""
    lines = _lines(cost)
    axis = _decades(step.own for steps in lines.values() for step in steps)
    parts = [_tick(place, power) for place, power in axis.ticks()]
    for number, (name, steps) in enumerate(lines.items()):
        parts += _line(name, steps, axis, number, HEIGHT + LINE * (number + 2))
    height = HEIGHT + LINE * (len(lines) + 3)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-MARGIN} {-LINE} {WIDTH + 2 * MARGIN} {height + LINE}" '
        f'width="720" font-family="sans-serif" font-size="30" role="img" aria-label="{escape(_label(lines))}">'
        f'<rect x="{-MARGIN}" y="{-LINE}" width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _lines(cost: Cost) -> dict[str, list[StepCost]]:
    """The dearest families, each with its steps in the order of execution."""
    names = dict.fromkeys(family_of(step.step) for step in cost.dearest if 0 < step.own < float("inf"))
    chosen = list(names)[: len(COLOURS)]
    return {name: [step for step in cost.steps if family_of(step.step) == name] for name in chosen}


def _tick(place: int, power: float) -> str:
    line = f'<line x1="0" x2="{WIDTH}" y1="{place}" y2="{place}" stroke="#ccc" stroke-width="2"/>'
    return f'{line}<text x="-16" y="{place + 10}" text-anchor="end">{power:g}</text>'


def _decades(values: Iterable[float]) -> Axis:
    """An axis from a power of ten to another, so that it has at least two ticks."""
    powers = [math.log10(value) for value in values if 0 < value < math.inf] or [0.0]
    return Axis.around((), low=10.0 ** math.floor(min(powers)), high=10.0 ** math.ceil(max(powers)))


def _label(lines: dict[str, list[StepCost]]) -> str:
    """What somebody who does not see the figure is told."""
    return plain(f"own cost over depth, dearest family first: {', '.join(lines)}")


def _line(name: str, steps: list[StepCost], axis: Axis, number: int, below: int) -> list[str]:
    """Points over depth, joined, with their value, and the entry of the legend."""
    colour = COLOURS[number]
    wide = WIDTH / max(len(steps) - 1, 1)
    places = [(round(number * wide), axis.y(step.own), step) for number, step in enumerate(steps)]
    points = " ".join(f"{x},{y}" for x, y, _ in places)
    dots = "".join(
        f'<circle cx="{x}" cy="{y}" r="7" fill="{colour}"><title>{_shown(step.step)}: {step.own:.2g}</title></circle>'
        for x, y, step in places
    )
    joined = f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="4"/>'
    entry = f'<text x="0" y="{below}" fill="{colour}">{_shown(name)}</text>'
    return [f'<g class="c{number}">{joined}{dots}{entry}</g>']


def _shown(name: str) -> str:
    """A step's name, which may be anybody's, as text."""
    return escape(plain(name))
