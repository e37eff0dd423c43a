"""Known bugs below the noise of any one step: the matched filter over all rows of all layers, phases and scenarios.

In bfloat16 and float16 a bug may be smaller than the rounding of each value, and yet be in thousands of them. What is
looked at is the candidate's error less the baseline's: what correct arithmetic does as well is no bug.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from parity.contract import Contract
from parity.diagnosis.evidence import Piece, missing_in, piece_of
from parity.diagnosis.rows import Rows, Share
from parity.diagnosis.together import Plant, Remembered
from parity.placing import placed
from parity.trace import Key, Trace
from parity.variant import Catalogue, Variant
from parity.verdict import Cause, Diagnosis, Judgement, Status, StepVerdict

PHASES = 4
"""Of a scenario so many phases are looked at: planted bugs run through all of them, some 50 times."""
NOTE = "below the noise of each value"


@dataclass
class Seen:
    """What one known bug would cause in one place, beside the errors there: rows, and how many values they are."""

    rows: list[Rows] = field(default_factory=list)
    values: int = 0


@dataclass(frozen=True, eq=False)
class Find:
    """A known bug that is there, in some places."""

    variants: tuple[Variant, ...]
    share: Share
    values: int

    @property
    def steps(self) -> frozenset[str]:
        """The steps that are wrong."""
        return frozenset(variant.first for variant in self.variants)


class Accumulated:
    """The evidence on one candidate, scenario after scenario.

    Args:
        catalogue: of the reference that the oracle is.
        plant: runs the oracle with known bugs.
        notify: told of each run.
    """

    def __init__(self, catalogue: Catalogue, plant: Plant | Remembered, notify: Callable[[str], None] = lambda name: None) -> None:
        self._catalogue = catalogue
        self._plant = Remembered.of(plant)
        self._notify = notify
        self._seen: dict[Variant, Seen] = {}

    def judged(self, judgement: Judgement, *, oracle: Trace, baseline: Trace, candidate: Trace) -> Judgement:
        """The judgement with what the evidence so far says of its steps; the three traces are of one scenario."""
        pieces = dict(_pieces(judgement, oracle, baseline, candidate))
        wanted = self._wanted(judgement.dtype, pieces, oracle.contract)
        self._notify(f"{len(wanted)} known bugs, below the noise")
        for variant, tensors in self._plant.effects(wanted, oracle, missing_in(oracle, candidate)):
            for key, tensor in tensors.items():
                self._add(variant, pieces[key], tensor)
        return _with(judgement, _best(self._finds(wanted)), pieces)

    def _wanted(self, dtype: str, keys: Collection[Key], contract: Contract) -> dict[Variant, list[Key]]:
        found: dict[Variant, list[Key]] = {}
        for variant in self._catalogue.variants:
            for key in keys if variant.shows_in(dtype) else ():
                if here := placed(variant, key.step, contract):
                    found.setdefault(here, []).append(key)
        return found

    def _add(self, variant: Variant, piece: Piece, tensor: np.ndarray) -> None:
        if tensor.shape == piece.oracle.shape and np.any(effect := piece.effect(tensor)):
            seen = self._seen.setdefault(variant, Seen())
            seen.rows.append(Rows.of(true=piece.oracle, error=piece.error, effect=effect))
            seen.values += piece.size

    def _finds(self, here: Collection[Variant]) -> Iterator[Find]:
        """Each known bug in all its places together, or else in single ones, if any of them can be here."""
        families: dict[str, list[Variant]] = {}
        for variant in self._seen:
            families.setdefault(variant.name, []).append(variant)
        for family in families.values():
            if not any(variant in here for variant in family):
                continue
            whole = self._find(family)
            yield from [whole] if whole else filter(None, (self._find([variant]) for variant in family))

    def _find(self, variants: Sequence[Variant]) -> Find | None:
        seen = [self._seen[variant] for variant in variants]
        share = Share.of([rows for each in seen for rows in each.rows])
        return Find(tuple(variants), share, sum(each.values for each in seen)) if share.sure else None


def _pieces(judgement: Judgement, oracle: Trace, baseline: Trace, candidate: Trace) -> Iterator[tuple[Key, Piece]]:
    """The steps of the first phases that do not err for all that one sees, with what they err less the baseline."""
    phases = [chunk.phase for chunk in oracle.scenario.chunks][:PHASES]
    for step in judgement.steps:
        if (
            step.phase not in phases
            or step.lockstep is None
            or step.status.origin
            or candidate.same(step.key, baseline)
        ):
            continue
        made, correct = (piece_of(step, oracle, run) for run in (candidate, baseline))
        if made and correct:
            yield step.key, replace(made, candidate=made.candidate - correct.error)


def _best(finds: Iterator[Find]) -> list[tuple[Find, list[Find]]]:
    """Of those that say something of the same steps the surest, and the others, which look the same."""
    found: list[tuple[Find, list[Find]]] = []
    for find in sorted(finds, key=lambda find: -find.share.sigmas):
        alike = next((others for best, others in found if best.steps & find.steps), None)
        if alike is None:
            found.append((find, []))
        else:
            alike.append(find)
    return found


def _with(judgement: Judgement, found: Sequence[tuple[Find, list[Find]]], looked: Collection[Key]) -> Judgement:
    """The judgement with the steps introduced that were looked at and are said to be wrong, and why."""
    wrong = {step for find, _ in found for step in find.steps}
    marked = [
        replace(step, status=Status.INTRODUCED, note=NOTE) if step.step in wrong and step.key in looked else step
        for step in judgement.steps
    ]
    faint = [step for step in marked if step.note == NOTE]
    said = [_diagnosis(find, alike, faint) for find, alike in found if any(step.step in find.steps for step in faint)]
    return replace(judgement, steps=tuple(marked), diagnoses=(*judgement.diagnoses, *said))


def _diagnosis(find: Find, alike: Sequence[Find], faint: Sequence[StepVerdict]) -> Diagnosis:
    bug, share = find.variants[0], find.share
    others = tuple(other.variants[0].name for other in alike)
    here = [step for step in faint if step.step in find.steps]
    return Diagnosis(
        step=here[0].step,
        steps=tuple(dict.fromkeys(step.step for step in here)),
        phases=tuple(dict.fromkeys(step.phase for step in here)),
        values=find.values,
        noise=1.0 - share.explained,
        causes=(Cause(bug.name, bug.meaning, share.alpha, share.explained, True, bug.source, others),),
        tried=1 + len(alike),
        sigmas=share.sigmas,
        rows=round(share.rows),
    )
