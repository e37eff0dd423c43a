"""The report as Markdown, short enough for a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from parity.errors import ExitCode
from parity.judging.judgement import Comparison, Judgement
from parity.judging.verdict import StepVerdict
from parity.report import sentences
from parity.report.chosen import furthest
from parity.report.console import plain
from parity.report.detail import Report
from parity.report.first import First, first
from parity.report.numbers import error, ratio
from parity.report.sparkline import sparkline

WORST_LISTED = 5
SPARKS = 100
"""Characters of the sparkline."""
MOST_COMPARISONS = 40
"""Comparisons that the table lists."""
_MARK = {ExitCode.PARITY: "✅", ExitCode.DIVERGED: "❌", ExitCode.UNAVAILABLE: "💥", ExitCode.INCOMPLETE: "⚠️"}


def markdown(report: Report) -> str:
    """The whole text."""
    comparison = report.comparison
    said = first(comparison)
    parts = (_verdict(comparison, said), _cause(said), _overview(comparison), _costs(report), _provenance(said))
    return "\n".join(line for part in parts for line in part) + "\n"


def text(value: object) -> str:
    """Someone else's text as text: no markup, no HTML, no mention of a person, on one line."""
    escaped = re.sub(r"([\\`*_\[\]#!|~>])", r"\\\1", plain(value))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace("@", "@\u200b").replace("://", ":\u200b//")


def code(value: object) -> str:
    """Someone else's text as code; a backtick in it would end the code."""
    safe = plain(value).replace("`", "'").replace("|", "\\|")
    return f"`{safe}`"


def _verdict(comparison: Comparison, said: First) -> Iterator[str]:
    yield f"## {_MARK[comparison.exit_code]} {text(said.headline)}"
    for sentence in said.explanation:
        yield ""
        yield text(sentence)


def _cause(said: First) -> Iterator[str]:
    if said.judgement is None or not said.judgement.steps:
        return
    if said.step is not None:
        yield from _divergence(said, said.step)
    drawn = sparkline(said.judgement, SPARKS)
    yield from ("", "Error against depth; the lowest bar is within what is allowed:", "", "```text")
    yield from (f"lockstep  {drawn.lockstep.text}", f"free      {drawn.free.text}")
    yield from (f"{drawn.axis:<8}  {plain(drawn.places).replace('`', chr(39))}", "```")
    yield from _worst(said.judgement)


def _divergence(said: First, step: StepVerdict) -> Iterator[str]:
    yield from ("", f"**First divergence:** {code(step.step)} in {code(step.phase)}, {step.status}")
    if said.about:
        yield from ("", f"> {text(said.about.meaning)}", f"> <br>source {code(said.about.source)}")
    runs = {name: run for name, run in (("lockstep", step.lockstep), ("free", step.free)) if run is not None}
    if runs:
        yield from ("", "| run | error | floor | floors |", "| --- | ---: | ---: | ---: |")
    for name, run in runs.items():
        yield f"| {name} | {error(run.error)} | {error(run.floor)} | {ratio(run.ratio)} |"
    if said.causes:
        yield ""
    for label, sentence in said.causes:
        yield f"- {text(label)}: {text(sentence)}"


def _worst(judgement: Judgement) -> Iterator[str]:
    steps = furthest(judgement, WORST_LISTED)
    if steps:
        yield from ("", "| worst steps | phase | status | floors |", "| --- | --- | --- | ---: |")
    for step in steps:
        yield f"| {code(step.step)} | {code(step.phase)} | {step.status} | {ratio(step.ratio)} |"


def _overview(comparison: Comparison) -> Iterator[str]:
    judgements = comparison.judgements
    if len(judgements) < 2:
        return
    yield from ("", "| candidate | dtype | scenario | verdict | first divergence | worst |")
    yield "| --- | --- | --- | --- | --- | ---: |"
    for judgement in judgements[:MOST_COMPARISONS]:
        found = judgement.first_divergence
        names = (code(name) for name in (judgement.candidate, judgement.dtype, judgement.scenario))
        word = f"{_MARK[judgement.exit_code]} {sentences.WORD[judgement.exit_code]}"
        most = ratio(judgement.worst.ratio) if judgement.worst else "–"
        yield f"| {' | '.join(names)} | {word} | {code(found.step) if found else '–'} | {most} |"
    if len(judgements) > MOST_COMPARISONS:
        yield from ("", f"and {len(judgements) - MOST_COMPARISONS} more")


def _costs(report: Report) -> Iterator[str]:
    """What candidates' own weights cost against the original ones, which is no bug."""
    for cost in report.costs:
        yield from ("", f"**What quantisation costs** {code(cost.candidate)}: {text(sentences.cost(cost))}")
        yield from ("", "| dearest steps | own | whole |", "| --- | ---: | ---: |")
        for step in cost.dearest[:WORST_LISTED]:
            yield f"| {code(step.step)} | {error(step.own)} | {error(step.whole)} |"


def _provenance(said: First) -> Iterable[str]:
    rows = [f"- {label}: {text(value)}" for label, value in said.provenance]
    return ("", "<details><summary>Provenance</summary>", "", *rows, "", "</details>")
