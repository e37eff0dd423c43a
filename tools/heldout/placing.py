"""Where a verdict says that a fault is, held against where it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from parity.judging.judgement import Judgement
from parity.judging.verdict import StepVerdict
from parity.learning.pairing import CONTENT
from parity.learning.table import LearnedTable
from tools.heldout import results as words
from tools.heldout.results import Placed
from tools.heldout.truth import Truth


def placed(
    truth: Truth,
    judgement: Judgement,
    table: LearnedTable,
    runs: Sequence[Iterable[str]],
    ports: Sequence[Iterable[str]] = (),
) -> Placed:
    """What a verdict says of a fault.

    Args:
        truth: where it is.
        judgement: the verdict.
        table: by which the port was judged; its steps may be others than those that the truth is told by.
        runs: places of the reference in the order of its phases: both tables' steps are among them.
        ports: places of the faulty port in the order of its phases.
    """
    bridged = sum(row.confidence != CONTENT for row in table.rows)
    said = Placed(where=words.NONE, why=judgement.why, rows=len(table.rows), bridged=bridged)
    first = judgement.first_divergence
    if judgement.crash or first is None:
        return said.model_copy(update={"where": words.CRASH if judgement.crash else words.NONE})
    rows = {row.name: row for row in table.members()}
    sources = {name: row.reference for name, row in rows.items()}
    before = last_right(judgement, first)
    where = _missing(truth, judgement, sources) or _phase(truth, judgement, first)
    where = where or _where(truth.reference, sources[first.step], sources.get(before, ""), runs)
    if where in (words.LATE, words.EARLY) and first.phase == truth.key.phase:
        right = rows[before].candidate if before in rows else ()
        where = words.INTERVAL if _between(truth.places, right, rows[first.step].candidate, ports) else where
    about = {"where": where, "step": first.step, "phase": first.phase, "before": before, "ratio": first.ratio}
    return said.model_copy(update=about)


def last_right(judgement: Judgement, first: StepVerdict) -> str:
    """The last step before a divergence, in its phase, whose own computation is right."""
    before = judgement.steps[: judgement.steps.index(first)]
    right = [step.step for step in before if step.phase == first.phase and step.status.compared]
    return right[-1] if right else ""


def _missing(truth: Truth, judgement: Judgement, sources: Mapping[str, str]) -> str:
    """Whether the verdict says that the port does not show the fault's step any more."""
    absent = ((step.phase, sources.get(step.step)) for step in judgement.missing)
    return words.MISSING if (truth.key.phase, truth.reference) in absent else ""


def _phase(truth: Truth, judgement: Judgement, first: StepVerdict) -> str:
    """Late or early where that is in another phase; nothing in the same."""
    phases = [*dict.fromkeys(step.phase for step in judgement.steps)]
    said, true = phases.index(first.phase), phases.index(truth.key.phase)
    return "" if said == true else words.LATE if said > true else words.EARLY


def _where(truth: str, wrong: str, right: str, runs: Sequence[Iterable[str]]) -> str:
    """Of places of the reference: the fault's, the first wrong step's, and the last right one's before it."""
    if wrong == truth:
        return words.STEP
    orders = ({place: at for at, place in enumerate(run)} for run in runs)
    order = next((order for order in orders if truth in order and wrong in order), {})
    at, low, high = (order.get(place, -1) for place in (truth, right, wrong))
    return words.INTERVAL if low < at < high else words.LATE if at <= low else words.EARLY


def _between(fault: Sequence[str], right: Sequence[str], wrong: Sequence[str], ports: Sequence[Iterable[str]]) -> bool:
    """Whether a place of the fault is behind the last right step's and not behind the first wrong one's, at the port.

    Places of the fault are the one that shows its step where the port is as it is, and what the edit brought in.
    """
    for run in ports:
        order = {place: at for at, place in enumerate(run)}
        frames = {place.partition(": ")[0] for place in fault}
        new = [place for place in order if place.partition(": ")[0] in frames and ": `new " in place]
        low = max((order[place] for place in right if place in order), default=-1)
        high = max((order[place] for place in wrong if place in order), default=-1)
        if any(low < order[place] <= high for place in (*fault, *new) if place in order):
            return True
    return False
