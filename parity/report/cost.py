"""What a candidate's numbers cost: on a terminal, and as a page, whose figure is `parity.report.html.cost`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console

from parity.cost.result import STANDS_OUT, Cost, StepCost
from parity.report import sentences
from parity.report.console import plain, print_line
from parity.report.markdown import code
from parity.report.numbers import error, ratio
from parity.report.table import Table

ROWS = 12
HEADS = ("step", "own", "whole", "x family")

INTRODUCTION = """\
# What {candidate} costs

Written by `{command}`; do not edit.

{summary}

*Own* is a step's error from exact inputs, against the original weights in float64: what it costs by itself. *Whole* is
its error in the free run, with what all steps before it cost. *x family* is own, over that of the median layer: a step
whose weights are merely rounded costs about as much as the same step of other layers. Whether there is a bug besides
says `parity compare`, which holds the candidate to a reference with the candidate's own weights."""

FIGURE = "![What each step itself costs, layer by layer; a line for each of the dearest families.]({figure})"


def print_cost(cost: Cost, out: Console) -> None:
    """Logits, tokens, the dearest steps, and those that cost more than their family does."""
    print_line(out, (plain(f"{cost.candidate} {cost.dtype}"), "bold"), ": ", plain(sentences.cost(cost)))
    for title, steps in sections(cost):
        out.print()
        print_line(out, (title, "bold"))
        grid = Table(*HEADS, right=HEADS[1:])
        for row in map(cells, steps):
            grid.add(plain(row[0]), *row[1:])
        grid.print(out)


def cells(step: StepCost) -> tuple[str, str, str, str]:
    """A row of the table."""
    return step.step, error(step.own), error(step.whole), ratio(step.times)


def markdown(cost: Cost, written_by: str, figure: str) -> str:
    """The page."""
    head = INTRODUCTION.format(candidate=code(cost.candidate), command=written_by, summary=f"{sentences.cost(cost)}.")
    lines = [head, "", FIGURE.format(figure=figure)]
    for title, steps in sections(cost):
        lines += ["", f"## {title}", "", f"| {' | '.join(HEADS)} |", "| --- | --- | --- | --- |"]
        lines += [f"| {code(name)} | {' | '.join(numbers)} |" for name, *numbers in map(cells, steps)]
    return "\n".join([*lines, ""])


def sections(cost: Cost) -> Iterator[tuple[str, Sequence[StepCost]]]:
    """A title and the steps below it: the dearest, and those that cost more than their family does."""
    yield "Steps that cost most by themselves", cost.dearest[:ROWS]
    if found := cost.outstanding[:ROWS]:
        yield f"Steps that cost over {STANDS_OUT:g} times what the same step of other layers does", found
