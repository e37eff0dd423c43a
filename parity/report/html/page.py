"""The page as a whole: what the templates are given, and what comes out: one file without a single link to another."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from parity.errors import UsageError
from parity.judging.judge import ALLOWED
from parity.judging.judgement import Comparison, Judgement
from parity.judging.verdict import MEANING
from parity.report import sentences
from parity.report.console import plain
from parity.report.cost import sections
from parity.report.detail import Report
from parity.report.first import first
from parity.report.html.cost import svg
from parity.report.html.depth import Depth, depth
from parity.report.html.house import House, house
from parity.report.html.listing import Listing, listing, tokens
from parity.report.html.pages import by_series, identities, pages, whose
from parity.report.html.points import MOST_POINTS, label_of, points
from parity.report.html.timeline import Timeline, timeline
from parity.report.levels import LevelScale
from parity.report.numbers import error, number, ratio
from parity.traces.trace import Key

if TYPE_CHECKING:
    from jinja2 import Environment

SCRIPTS = ("depth.js", "listing.js", "page.js")
MARKS = 50_000
"""Points of all figures together: at some 45 bytes each they take half of the 5 MB that a report may have."""
TABLE_ROWS = 2_400
"""Rows of all tables of steps together."""


@dataclass(frozen=True)
class Chapter:
    """One scenario: its figure, its maps, its tables."""

    name: str
    judgements: tuple[Judgement, ...]
    depth: Depth
    houses: tuple[House, ...]
    timeline: Timeline | None
    listing: Listing


def render(report: Report) -> str:
    """The page of a report.

    Raises:
        UsageError: where jinja2 is not installed.
    """
    environment = require_templates()
    scale = LevelScale(next((one.allowed for one in report.comparison.judgements if one.allowed), ALLOWED))
    identified = identities(report)
    script = "\n".join(static(name) for name in SCRIPTS)
    style = static("palette.css") + static("style.css")
    return environment.get_template("page.html").render(
        report=report,
        comparison=report.comparison,
        first=first(report.comparison),
        chapters=_chapters(report, scale, identified),
        pages=list(pages(report, scale)),
        costs=[(cost, _safe(svg(cost))) for cost in report.costs],
        page_of=lambda judgement, step: identified.get(whose(judgement), {}).get(step.key, ""),
        scale=scale,
        meanings={status: text.replace("K floors", f"{scale.allowed:g} floors") for status, text in MEANING.items()},
        style=_safe(style),
        script=_safe(script),
        policy=policy(script=script, style=style),
    )


@cache
def require_templates() -> Environment:
    """The templates, everything in them escaped, for HTML and against invisible marks.

    Raises:
        UsageError: where jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as missing:
        raise UsageError("the HTML report needs jinja2: pip install 'gemma3n-parity[report]'") from missing
    environment = Environment(
        loader=PackageLoader("parity.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters.update(ratio=ratio, error=error, number=number, worst=sentences.worst)
    environment.globals.update(
        label_of=label_of, tokens_of=tokens, verdict_of=sentences.verdict, word_of=_word, covered=sentences.covered
    )
    environment.globals.update(cost_sections=sections, cost_summary=sentences.cost)
    return environment


def _shown(value: Any) -> Any:
    """Every text that a template inserts, with what cannot be seen made visible; markup of our own stays."""
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _safe(text: str) -> Any:
    """Our own style, script or figure, which escaping would break."""
    from markupsafe import Markup

    return Markup(text)


@cache
def static(name: str) -> str:
    """One of the files that a page is made of."""
    return resources.files("parity.report.html").joinpath("static", name).read_text(encoding="utf-8")


def _chapters(
    report: Report, scale: LevelScale, identified: Mapping[tuple[str, str, str], Mapping[Key, str]]
) -> list[Chapter]:
    """A chapter per scenario that was compared at all, the budgets shared among them."""
    comparison = report.comparison
    names = list(dict.fromkeys(one.scenario for one in comparison.judgements if one.steps))
    series = sum(bool(one.steps) for one in comparison.judgements)
    most = max(256, min(MOST_POINTS, MARKS // max(1, series)))
    rows = max(100, TABLE_ROWS // max(1, len(names)))
    return [_chapter(name, report, scale, identified, most=most, rows=rows) for name in names]


def _chapter(
    name: str,
    report: Report,
    scale: LevelScale,
    identified: Mapping[tuple[str, str, str], Mapping[Key, str]],
    *,
    most: int,
    rows: int,
) -> Chapter:
    judgements = _judged(report.comparison, name)
    linked = by_series(judgements, identified)
    scenario = next((one for one in report.scenarios if one.name == name), None)
    return Chapter(
        name=name,
        judgements=judgements,
        depth=depth(points(name, judgements, most=most), report.comparison.contract, scale.allowed, linked),
        houses=tuple(house(one, scale, linked[at]) for at, one in enumerate(judgements)),
        timeline=timeline(judgements, scenario, scale, report.pieces),
        listing=listing(judgements, scale, linked, most=rows),
    )


def _judged(comparison: Comparison, scenario: str) -> tuple[Judgement, ...]:
    return tuple(one for one in comparison.judgements if one.scenario == scenario and one.steps)


def _word(judgement: Judgement) -> str:
    return sentences.WORD[judgement.exit_code]


def policy(*, script: str, style: str) -> str:
    """What a page may do: run its one script, use its one style, each allowed by its hash, and nothing else at all.

    A prompt or a step's name that slipped through the escaping would still not run, load or send anything.
    """
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
