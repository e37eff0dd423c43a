"""Sections of the terminal report: the first divergence, the introduced steps, the gaps, the worst steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console

from parity.judging.judgement import Comparison, Judgement
from parity.judging.verdict import MEANING, Deviation, Status, StepVerdict
from parity.report import causes, sentences
from parity.report.chosen import furthest
from parity.report.console import plain, print_line
from parity.report.fold import Family, phases, split
from parity.report.numbers import count, error, ratio
from parity.report.table import Table

MOST_ROWS = 12
WORST_ROWS = 5
ON_PURPOSE = "if it is so on purpose: Tensors.to_numpy takes what counts of it, Tensors.place says which part that is"
"""Of a shape: a cache with room behind its keys, logits of the last token alone, one stream of several."""


def heading(out: Console, text: str) -> None:
    """Begin a section."""
    out.print()
    print_line(out, (text, "bold"))


def divergence(comparison: Comparison, judgement: Judgement, first: StepVerdict, out: Console) -> None:
    """The first divergence: what the step is, where the reference computes it, and how far off the candidate is."""
    heading(out, "First divergence")
    print_line(out, (sentences.in_phase(first), "bold red"), f"  {first.status}", indent=2)
    if step := comparison.contract.get(first.step):
        print_line(out, plain(step.meaning), indent=2)
        for label, text in (("axes", " ".join(step.axes)), ("source", step.source), ("paper", step.paper)):
            if text:
                print_line(out, (f"{label:<8}", "dim"), plain(text), indent=2)
    if first.note:
        print_line(out, (f"{'found':<8}", "dim"), plain(first.note), indent=2)
    if first.status is Status.CONTRACT and first.note.startswith("shape"):
        print_line(out, (f"{'cure':<8}", "dim"), ON_PURPOSE, indent=2)
    if first.free or first.lockstep:
        exact = step is not None and step.kind != "float"
        _runs(first, exact=exact).print(out)
    if diagnosis := judgement.diagnosis(first.step):
        for label, text in causes.lines(diagnosis):
            print_line(out, (f"{label:<8}", "dim"), plain(text), indent=2)
    for label, text in causes.later(judgement, first):
        print_line(out, (f"{label:<8}", "dim"), plain(text), indent=2)


def _runs(step: StepVerdict, *, exact: bool) -> Table:
    """Error against floor in both kinds of run."""
    grid = Table(
        "run", "error", "floor", "floors", "worst place", right=("error", "floor", "floors"), wraps="worst place"
    )
    for name, deviation in (("lockstep", step.lockstep), ("free", step.free)):
        if deviation is None:
            grid.add(name, "-", "-", "-", "not run")
        else:
            floor = "exact" if exact else error(deviation.floor)
            grid.add(name, error(deviation.error), floor, ratio(deviation.ratio), sentences.worst(deviation))
    return grid


@dataclass
class _Row:
    """Steps that are alike but for the layer, in the phases in which they are."""

    family: Family
    phases: list[str]
    steps: list[StepVerdict]

    @property
    def worst(self) -> StepVerdict:
        return max(self.steps, key=lambda step: _ratio(_own(step)))


def _rows(steps: Iterable[StepVerdict]) -> list[_Row]:
    """Fold steps over layers, then over the phases that have the same layers."""
    found: dict[tuple[str, str, str, Status], _Row] = {}
    for step in steps:
        before, index, after = split(step.step)
        row = found.setdefault((step.phase, before, after, step.status), _Row(Family(before, after), [step.phase], []))
        row.family.indices += [] if index is None else [index]
        row.steps.append(step)
    merged: dict[tuple[str, Status], _Row] = {}
    for row in found.values():
        same = merged.setdefault((row.family.name, row.steps[0].status), row)
        if same is not row:
            same.phases += row.phases
            same.steps += row.steps
    return list(merged.values())


def introduced(judgement: Judgement, out: Console) -> None:
    """Every fault of its own, in execution order; one line for what is alike in many layers and phases."""
    if len(judgement.introduced) < 2:
        return
    rows = _rows(judgement.introduced)
    heading(out, f"{count(len(judgement.introduced), 'introduced step')}, in execution order")
    grid = Table("step", "phase", "floors", "error", "", right=("floors", "error"), wraps="phase")
    for row in rows[:MOST_ROWS]:
        grid.add(plain(row.family.name), plain(phases(row.phases)), *_own_numbers(row.worst))
    grid.print(out)
    for row in rows[:MOST_ROWS]:
        if row.worst.note:
            print_line(out, plain(f"{row.family.name}: {row.worst.note}"), indent=2)
    _more(rows, out)
    for steps, text in causes.further(judgement, judgement.first_divergence):
        print_line(out, plain(f"{steps}: {text}"), indent=2)


def _own_numbers(step: StepVerdict) -> tuple[str, str, str]:
    """What a row of introduced steps says of the worst: floors, error, and its status where it is another."""
    own = _own(step)
    if step.status is not Status.INTRODUCED or own is None:
        return "-", "-", str(step.status)
    return ratio(own.ratio), error(own.error), ""


def gaps(judgement: Judgement, out: Console) -> None:
    """Steps that were not compared; why, where the candidate says it."""
    for status in (Status.UNCOVERED, Status.UNEXPECTED, Status.HIDDEN):
        steps = [step for step in judgement.steps if step.status is status]
        if not steps:
            continue
        rows = _rows(steps)
        heading(out, f"{count(len(steps), f'{status} step')}: {MEANING[status]}")
        grid = Table("step", "phase", wraps="phase")
        for row in rows[:MOST_ROWS]:
            grid.add(plain(row.family.name), plain(phases(row.phases)))
        grid.print(out)
        if status is Status.HIDDEN:
            for row in rows[:MOST_ROWS]:
                print_line(out, plain(f"{row.family.name}: {row.steps[0].note}"), indent=2)
        _more(rows, out)


def worst(judgement: Judgement, out: Console) -> None:
    """The five steps that are furthest off, or that come nearest to what is allowed."""
    steps = furthest(judgement, WORST_ROWS)
    if not steps:
        return
    near = f"Nearest to the {judgement.allowed:g} floors that are allowed"
    heading(out, "Furthest off" if judgement.first_divergence else near)
    grids = [_worst(steps, floor=floor) for floor in (True, False)]
    # the floor follows from the two numbers beside it, so it gives way to long names
    next((grid for grid in grids if grid.width + 2 <= out.width), grids[-1]).print(out)


def _worst(steps: Iterable[StepVerdict], *, floor: bool) -> Table:
    last = ("floor",) if floor else ()
    grid = Table("step", "phase", "floors", "run", "error", *last, right=("floors", "error", "floor"))
    for step in steps:
        deviation = max((d for d in (step.lockstep, step.free) if d is not None), key=lambda d: d.ratio)
        run = "lockstep" if deviation is step.lockstep else "free"
        numbers = (ratio(deviation.ratio), run, error(deviation.error), *([error(deviation.floor)] if floor else []))
        grid.add(plain(step.step), plain(step.phase), *numbers)
    return grid


def _more(rows: list[_Row], out: Console) -> None:
    left = sum(len(row.steps) for row in rows[MOST_ROWS:])
    if left:
        print_line(out, f"and {left:,} more", indent=2)


def _own(step: StepVerdict) -> Deviation | None:
    """The deviation that says what the step itself does: from exact inputs where there is one."""
    return step.lockstep or step.free


def _ratio(deviation: Deviation | None) -> float:
    return -1.0 if deviation is None or deviation.ratio != deviation.ratio else deviation.ratio
