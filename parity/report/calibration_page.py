"""A calibration as a page of the documentation, with its figure beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from parity.calibration.misses import Misses
from parity.calibration.summary import Group, Summary
from parity.report.calibration import COLUMNS, HEADS, cells, command, line, totals
from parity.report.calibration_plot import svg
from parity.report.json import write_whole
from parity.report.markdown import code
from parity.report.numbers import ratio

TRADED = (2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
"""Values of K in the table."""

INTRODUCTION = """\
# How often right code is accused

Written by `{command}`; do not edit.

A candidate may err by K = {allowed:g} floors at each step, where a floor is what the reference itself errs there in the
same arithmetic. A smaller K finds smaller bugs and accuses more right code. What that costs is measured here:
candidates that are known to be right get inputs that nobody chose, text of many lengths and scripts, code, digits and
repetitions in every scenario, and pictures and sounds of any size, format and rate. Comparisons run in every
arithmetic, and in these environments: {environments}. Most candidates run in another environment besides, as on another
machine: MLX on another BLAS, and the reference itself, which would equal the baseline to the bit otherwise.

{totals}

A judgement is one candidate in one arithmetic with one input; its ratio is that of its worst step of all, in both runs,
some thousand steps each. Steps that are *coarse* (only the plain order of a sum explains them) are counted apart."""

FIGURE = """\
![Left: the share of judgements of right candidates with a step beyond K floors. Right: the share of known bugs within K
floors at their own step. A line for each arithmetic; the dashed rule is the K in force.]({figure})"""

TRADE = """\
## What another K would cost

*Accused* is the share of the judgements above with a step beyond K floors. *Missed* is the share of the known bugs of
[variants](variants.md) that stay within K floors at their own step; some of these are found all the same, for
many values together prove them ([below the noise](architecture.md#below-the-noise))."""


def write(summary: Summary, misses: Sequence[Misses], written_by: str, page: Path) -> None:
    """Write the page, and its figure beside it."""
    figure = page.with_suffix(".svg")
    write_whole(figure, svg(summary, misses))
    write_whole(page, markdown(summary, misses, written_by, figure.name))


def markdown(summary: Summary, misses: Sequence[Misses], written_by: str, figure: str) -> str:
    """The page."""
    lines = [_introduction(summary, written_by), ""]
    lines += [FIGURE.format(figure=figure), "", *_flagged(summary), "", TRADE, "", *_trade(summary, misses)]
    lines += ["", "## Worst ratios of a judgement", ""]
    lines += ["In floors: the median, further quantiles, and the worst of all.", ""]
    for field, head in HEADS.items():
        lines += [*_table(head, summary.by(*(("dtype", field) if field == "candidate" else (field,)))), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _introduction(summary: Summary, written_by: str) -> str:
    said, environments = "\n".join(f"- {text}" for text in totals(summary)), ", ".join(summary.head.environments)
    return INTRODUCTION.format(command=written_by, allowed=summary.head.allowed, environments=environments, totals=said)


def _flagged(summary: Summary) -> Iterator[str]:
    """Every false alarm, with what runs it again."""
    yield from ("## False alarms", "")
    if not summary.whole.flagged:
        yield "None."
    for result in summary.whole.flagged:
        yield f"- {code(line(result))}; again: {code(command(result, summary))}"


def _trade(summary: Summary, misses: Sequence[Misses]) -> Iterator[str]:
    known = {each.dtype: each for each in misses}
    groups = summary.by("dtype")
    heads = [f"{group.name}: {what}" for group in groups for what in ("accused", "missed")]
    yield from (f"| K | {' | '.join(heads)} |", f"| --: |{' --: |' * len(heads)}")
    for allowed in TRADED:
        cells_of = [text for group in groups for text in _costs(group, known.get(group.name), allowed)]
        yield f"| {allowed:g} | {' | '.join(cells_of)} |"


def _costs(group: Group, misses: Misses | None, allowed: float) -> tuple[str, str]:
    return _percent(group.beyond(allowed)), _percent(misses.missed(allowed)) if misses else "-"


def _table(head: str, groups: Sequence[Group]) -> Iterator[str]:
    yield from (f"| {head} | {' | '.join((*COLUMNS, 'where'))} |", f"| --- |{' --: |' * len(COLUMNS)} --- |")
    for group in groups:
        yield f"| {code(group.name)} | {' | '.join(cells(group))} | {_where(group)} |"


def _where(group: Group) -> str:
    """The step that the worst ratio of all is at."""
    worst = max(
        (run for run in (group.worst.lockstep, group.worst.free) if run), key=lambda run: run.ratio, default=None
    )
    return f"{code(worst.step)}, draw {group.worst.draw}" if worst else "-"


def _percent(share: float) -> str:
    return f"{ratio(100 * share)} %" if share else "0"
