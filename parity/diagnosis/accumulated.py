"""Known bugs below the noise of any one step: the matched filter over all rows of all layers, phases and scenarios.

In bfloat16 and float16 a bug may be smaller than the rounding of each value, and yet be in thousands of them. What is
looked at is the candidate's error less the baseline's: what correct arithmetic does as well is no bug.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from parity.contract import Contract
from parity.diagnosis.evidence import Piece, missing_in, piece_of
from parity.diagnosis.numerals import said
from parity.diagnosis.rows import AROUND_ONE, Rows, Share
from parity.diagnosis.together import Plant, Remembered
from parity.dtypes import unit_roundoff
from parity.judging.cause import Cause, Diagnosis
from parity.judging.judgement import Judgement
from parity.judging.verdict import Status, StepVerdict
from parity.placing import placed
from parity.traces.measure import Float
from parity.traces.scale import family
from parity.traces.trace import Key, Trace
from parity.variant import Catalogue, Degree, Variant

PHASES = 4
"""Of a scenario so many phases are looked at: planted bugs run through all of them, some 50 times."""
NOTE = "below the noise of each value"
ALIKE = 0.9
"""What says something of the same steps looks the same where it explains nearly as much of their errors."""
GENERIC = "generic"
FACTOR = Variant("factor", GENERIC, "a factor", "", (), degree=Degree(1.0, 1.0001, "multiplied by {}"))
"""What any step may be off by in all of its values, whatever the model; it need not be planted. Within the arithmetic's
unit roundoff it is no bug: a constant that was rounded once, as 2^-1/2 in bfloat16, is off by 1.1e-4 in every value."""


@dataclass
class Seen:
    """What one known bug would cause in one place, beside the errors there.

    Attributes:
        rows: of each tensor, of what the candidate errs less the baseline.
        correct: the same of what the baseline errs.
        values: how many values they are.
    """

    rows: list[Rows] = field(default_factory=list)
    correct: list[Rows] = field(default_factory=list)
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

    @property
    def known(self) -> bool:
        """Whether it is of the catalogue; else a factor, whose cause is not known."""
        return self.variants[0].component != GENERIC

    @property
    def meaning(self) -> str:
        """What it means in words, with the number that was found where it is wrong by degrees."""
        bug, alpha = self.variants[0], self.share.alpha
        if bug.degree is None:
            return bug.meaning
        return bug.degree.says.format(_told(bug.degree.at(alpha), abs(self.share.deviation * bug.degree.size)))


class Accumulated:
    """The evidence on one candidate, scenario after scenario.

    Args:
        catalogue: of the reference that the oracle is.
        plant: runs the oracle with known bugs.
        notify: told of each run.
        coarse: runs the baseline with known bugs that only its arithmetic shows; None where there is none to run.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        plant: Plant | Remembered,
        notify: Callable[[str], None] = lambda name: None,
        coarse: Plant | Remembered | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._plant = Remembered.of(plant)
        self._coarse = None if coarse is None else Remembered.of(coarse)
        self._notify = notify
        self._seen: dict[Variant, Seen] = {}

    def judged(self, judgement: Judgement, *, oracle: Trace, baseline: Trace, candidate: Trace) -> Judgement:
        """The judgement with what the evidence so far says of its steps; the three traces are of one scenario."""
        pieces, roundoff = dict(_pieces(judgement, oracle, baseline, candidate)), unit_roundoff(judgement.dtype)
        missing, contract = missing_in(oracle, candidate), oracle.contract
        fine, coarse = (self._wanted(judgement.dtype, pieces, contract, coarse=coarse) for coarse in (False, True))
        self._notify(f"{len(fine) + len(coarse)} known bugs, below the noise")
        for variant, tensors in self._plant.effects(fine, oracle, missing):
            for key, tensor in tensors.items():
                self._add(variant, pieces[key], pieces[key].effect(tensor), baseline)
        if self._coarse is not None:
            for variant, tensors in self._coarse.effects(coarse, oracle, missing):
                for key, tensor in tensors.items():
                    effect = pieces[key].effect(tensor) - _correct(pieces[key], baseline)
                    self._add(variant, pieces[key], effect, baseline)
        factors = [self._factor(piece, baseline) for piece in pieces.values()]
        return _with(judgement, _best(self._finds({*fine, *coarse, *factors}, roundoff)), pieces)

    def _wanted(
        self, dtype: str, keys: Collection[Key], contract: Contract, *, coarse: bool
    ) -> dict[Variant, list[Key]]:
        """The bugs of each step: those that the oracle's arithmetic shows, or those that a coarse one alone does."""
        found: dict[Variant, list[Key]] = {}
        for variant in self._catalogue.variants:
            if not variant.shows_in(dtype) or bool(variant.dtypes) != coarse:
                continue
            for key in keys:
                if here := placed(variant, key.step, contract):
                    found.setdefault(here, []).append(key)
        return found

    def _factor(self, piece: Piece, baseline: Trace) -> Variant:
        """One factor on all values of a step: its effect is the oracle's values themselves."""
        here = replace(FACTOR, first=piece.key.step)
        assert FACTOR.degree is not None
        self._add(here, piece, piece.oracle * FACTOR.degree.size, baseline)
        return here

    def _add(self, variant: Variant, piece: Piece, effect: Float, baseline: Trace) -> None:
        if effect.shape == piece.oracle.shape and np.any(effect):
            seen = self._seen.setdefault(variant, Seen())
            seen.rows.append(_rows(piece, piece.error, effect))
            seen.values += piece.size
            if variant.degree is not None:
                seen.correct.append(_rows(piece, _correct(piece, baseline), effect))

    def _finds(self, here: Collection[Variant], roundoff: float) -> Iterator[Find]:
        """Each known bug in all its places together, in those of one kind, or in single ones, if any can be here."""
        for name in dict.fromkeys(variant.name for variant in self._seen):
            variants = [variant for variant in self._seen if variant.name == name]
            if any(variant in here for variant in variants):
                yield from self._grouped(variants, 0 if variants[0].component != GENERIC else 1, roundoff)

    def _grouped(self, variants: Sequence[Variant], level: int, roundoff: float) -> Iterator[Find]:
        groups: dict[str, list[Variant]] = {}
        for variant in variants:
            kind = ("", family(variant.first), variant.first)[level]
            groups.setdefault(kind, []).append(variant)
        for group in groups.values():
            if found := self._find(group, roundoff):
                yield found
            elif level < SINGLE:
                yield from self._grouped(group, level + 1, roundoff)

    def _find(self, variants: Sequence[Variant], roundoff: float) -> Find | None:
        seen = [self._seen[variant] for variant in variants]
        share = Share.of([rows for each in seen for rows in each.rows])
        values, first = sum(each.values for each in seen), variants[0]
        if share.sure and first.component != GENERIC:
            return Find(tuple(variants), share, values)
        if first.degree is None:
            return None
        tensors = Share.of([rows.whole for each in seen for rows in each.rows])
        correct = Share.of([rows.whole for each in seen for rows in each.correct])
        # where the baseline is off by as much the other way, the difference is its own
        own = abs(correct.alpha) <= AROUND_ONE * abs(tensors.alpha)
        number = first.degree.at(tensors.alpha)
        rounded = first.component == GENERIC and abs(number - first.degree.true) <= roundoff
        sure = tensors.sure_by_degrees and own and number > 0 and not rounded
        return Find(tuple(variants), tensors, values) if sure else None


SINGLE = 2
"""All places of a bug are looked at together first, then those of one family of steps, then each alone."""


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


def _rows(piece: Piece, error: Float, effect: Float) -> Rows:
    """A row for each place, as a token or a pixel: what is rounded there in a root or a mean is in all its values."""
    true, wrong, planted = (piece.layout.matrix(array) for array in (piece.oracle, error, effect))
    return Rows.of(true=true, error=wrong, effect=planted)


def _correct(piece: Piece, baseline: Trace) -> Float:
    """What the baseline errs there, which a bug that is planted in it has as well."""
    value = baseline.tensor(piece.key)
    return np.zeros(piece.oracle.shape) if value is None else piece.effect(value)


def _told(value: float, uncertain: float) -> str:
    """A fitted number to as many digits as are certain."""
    if uncertain <= 0 or not math.isfinite(uncertain):
        return said(value)
    apart = value - 1 if abs(value - 1) < AROUND_ONE else value
    digits = max(1, math.floor(math.log10(abs(apart) / uncertain))) if abs(apart) > uncertain else 1
    rounded = float(f"{apart:.{min(digits, 4) - 1}e}")
    return f"about {said(1 + rounded if apart != value else rounded)}"


def _best(finds: Iterator[Find]) -> list[tuple[Find, list[Find]]]:
    """The surest of those that say something of the same steps, and the others, which look the same."""
    found: list[tuple[Find, list[Find]]] = []
    for find in sorted(finds, key=lambda find: -abs(find.share.sigmas)):
        place = next((index for index, (best, _) in enumerate(found) if best.steps & find.steps), None)
        if place is None:
            found.append((find, []))
            continue
        best, alike = found[place]
        if find.share.explained < ALIKE * best.share.explained:
            continue
        if find.known and not best.known:
            found[place] = (find, alike)  # a factor that a known bug is, is no other cause
        elif find.known:
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
        causes=(
            Cause(
                name=bug.name,
                meaning=find.meaning,
                alpha=share.alpha,
                explained=share.explained,
                variant=bug.component != GENERIC,
                source=bug.source,
                alike=others,
            ),
        ),
        tried=1 + len(alike),
        sigmas=abs(share.sigmas),
        rows=round(share.rows),
    )
