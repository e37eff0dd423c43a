"""What was found of a conversion: on a terminal, and as a page of one file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from implementations.ane.engine.limits import LIMIT
from implementations.ane.peaks import MARGIN
from implementations.coreml.health.engine import NO_LIST, PLAN
from implementations.coreml.health.looking import Health, PartHealth
from parity.cost.result import Cost
from parity.report import sentences
from parity.report.console import plain, print_line
from parity.report.html.page import policy, require_templates, static
from parity.report.json import write_whole
from parity.report.numbers import ratio
from parity.report.table import Table

TEMPLATE = Path(__file__).with_name("page.html")
HEADS = ("package", "MB", "operations", "floors", "worst step", "peak", "room", "peak at")
WORDS = ("worst step", "peak at")
"""Columns of words: all others are numbers."""
STYLE = """
main > h2 { margin: 2.2rem 0 0.6rem; }
.numbers th.text, .numbers td.text { text-align: left; white-space: normal; }
"""
"""What the page needs besides the style of reports."""
NOTHING = "-"


@dataclass(frozen=True)
class Row:
    """One package, as both show it; `tight` where the peak leaves less than `MARGIN` of the range."""

    part: PartHealth
    cells: tuple[str, ...]
    tight: bool

    @property
    def kinds(self) -> str:
        """Operations by kind, the most first."""
        return ", ".join(f"{kind} {count:,}" for kind, count in self.part.kinds.most_common())


def rows(health: Health) -> Iterator[Row]:
    """A row for each package."""
    for part in health.parts:
        ran = bool(part.peak.step)
        cells = (
            part.name,
            f"{part.size / 1e6:,.1f}",
            f"{sum(part.functions.values()):,}",
            ratio(part.floors.value) if part.floors.step else NOTHING,
            part.floors.step or NOTHING,
            magnitude(part.peak.value) if ran else NOTHING,
            f"{magnitude(part.room)}x" if ran else NOTHING,
            part.peak.step or NOTHING,
        )
        yield Row(part, cells, tight=ran and part.room < 1 / MARGIN)


def magnitude(value: float) -> str:
    """A number of three digits or more, e.g. ``32,752`` or ``0.0123``."""
    if not math.isfinite(value):
        return "not finite"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def print_health(health: Health, out: Console) -> None:
    """Print the verdict, what it costs, a row for each package, and what leaves the engine."""
    print_line(out, (plain(health.name), "bold"), " ", plain(sentences.verdict(health.judgement)))
    print_line(out, (cost_line(health.cost), ""))
    grid = Table(*HEADS, right=[head for head in HEADS[1:] if head not in WORDS])
    for row in rows(health):
        grid.add(*map(plain, row.cells))
    grid.print(out)
    for part in health.parts:
        for kind, count, why in part.leaving:
            print_line(out, (f"{part.name}: {count:,} {kind} ", "bold"), f"{why.why}; {why.source}")
    if not any(part.leaving for part in health.parts):
        print_line(out, "no operation is known to leave the Neural Engine")


def cost_line(cost: Cost) -> str:
    """What it costs, in one sentence."""
    return plain(sentences.cost(cost))


def write_page(health: Health, written_by: str, page: Path) -> None:
    """Write the page.

    Raises:
        UsageError: where jinja2 is not installed.
        CannotWrite: where it cannot be written.
    """
    style = static("palette.css") + static("style.css") + STYLE
    template = require_templates().from_string(TEMPLATE.read_text(encoding="utf-8"))
    from markupsafe import Markup

    text = template.render(
        health=health,
        settings=health.settings,
        rows=[*rows(health)],
        heads=HEADS,
        words=WORDS,
        verdict=sentences.verdict(health.judgement),
        cost=cost_line(health.cost),
        limit=magnitude(LIMIT),
        margin=f"{MARGIN:.0%}",
        no_list=NO_LIST,
        plan=PLAN,
        written_by=written_by,
        style=Markup(style),
        policy=policy(script="", style=style),
    )
    write_whole(page, text)
