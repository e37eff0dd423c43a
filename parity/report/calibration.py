"""What a calibration says on a terminal; the words that its page shares."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from rich.console import Console

from parity.calibration.result import Result, WorstStep
from parity.calibration.summary import QUANTILES, Group, Summary
from parity.errors import ExitCode
from parity.report.console import plain, print_line
from parity.report.numbers import count, floors, ratio
from parity.report.sentences import WORD
from parity.report.table import Table

COLUMNS = ("judgements", "flagged", "coarse", *(f"{100 * share:g} %" for share in QUANTILES), "worst")
HEADS = {"dtype": "arithmetic", "candidate": "candidate", "environment": "environment", "scenario": "scenario"}


def print_summary(summary: Summary, out: Console) -> None:
    """The worst ratios' distribution by arithmetic and candidate, every false alarm, and the bound of their rate."""
    for field, head in HEADS.items():
        grid = Table(head, *COLUMNS, right=COLUMNS)
        for group in summary.by(*(("dtype", field) if field == "candidate" else (field,))):
            grid.add(plain(group.name), *cells(group))
        grid.print(out, indent=0)
    for result in summary.whole.flagged:
        print_line(out, ("flagged: ", "bold red"), plain(line(result)))
        print_line(out, plain(command(result, summary)), indent=2)
    for text in totals(summary):
        print_line(out, plain(text))


def cells(group: Group) -> tuple[str, ...]:
    """A group's figures, one for each of `COLUMNS`."""
    quantiles = (ratio(group.quantile(share)) for share in QUANTILES)
    counts = (len(group.results), len(group.flagged), group.coarse)
    return (*(f"{number:,}" for number in counts), *quantiles, ratio(group.worst.ratio))


def totals(summary: Summary) -> Iterator[str]:
    """How many were flagged, and what that says of the rate."""
    whole, draws = summary.whole, len({result.draw for result in summary.whole.results})
    yield (
        f"{count(len(whole.results), 'judgement')} of right candidates on {count(draws, 'drawn input')}:"
        f" {len(whole.flagged)} flagged, {whole.coarse} with coarse steps"
    )
    yield f"false-alarm rate at most {100 * whole.bound:.2g} % of the judgements, with 95 % confidence"
    faint = whole.faint
    yield (
        f"bugs below the noise of each value were looked for in {count(len(faint.results), 'judgement')} of these:"
        f" {len(faint.flagged)} flagged"
    )
    for (candidate, why), number in summary.refused.most_common():
        yield f"left out: {count(number, 'input')} that {candidate} cannot run: {why}"


def line(result: Result) -> str:
    """One judgement."""
    where = result.environment + (f" (candidate: {result.elsewhere})" if result.elsewhere else "")
    given = " + ".join((repr(result.prompt), *result.media))
    head = f"draw {result.draw}, {result.candidate} {result.dtype}, {where}, {result.scenario}, {given}"
    if result.refused:
        return f"{head}: cannot run: {result.refused}"
    return f"{head}: {WORD[ExitCode(result.exit_code)]}; {found(result)}"


def found(result: Result) -> str:
    """The step that is wrong, else the worst of each run."""
    if result.flagged and result.first:
        return _far("first", result.first)
    if result.failure:
        return result.failure
    runs = (("lockstep", result.lockstep), ("free", result.free), ("coarse", result.coarse))
    return ", ".join(_far(name, worst) for name, worst in runs if worst)


def command(result: Result, summary: Summary) -> str:
    """What runs this judgement again."""
    head = summary.head
    options = {"--draw": str(result.draw), "--seed": str(head.seed), "--candidates": result.candidate}
    options["--dtype"] = ",".join(head.dtypes)  # the draw's number chooses one of these
    return shlex.join(["parity", "calibrate", *(word for option in options.items() for word in option)])


def _far(name: str, worst: WorstStep) -> str:
    return f"{name} {floors(worst.ratio)} at {worst.step} ({worst.phase})"
