"""Names what is wrong with one candidate, scenario after scenario: causes of introduced steps, bugs below the noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from parity.diagnosis.accumulated import Accumulated
from parity.diagnosis.diagnose import diagnose
from parity.diagnosis.evidence import missing_in
from parity.diagnosis.matched import Filter, PartyPlant
from parity.diagnosis.together import Plant, Remembered
from parity.dtypes import unit_roundoff
from parity.entries import targets
from parity.judge import Runs
from parity.party import Party
from parity.progress import Progress
from parity.trace import Trace
from parity.variant import VARIANTS, Catalogue, find_variants
from parity.verdict import Judgement

COARSE = 1e-5
"""Unit roundoff from which on bugs hide in the noise: float16's is 5e-4, float32's 6e-8."""


class Namer:
    """What is said of one candidate.

    Args:
        catalogue: known bugs of the reference that the oracle is.
        plant: runs the oracle with known bugs.
        notify: told of each run.
    """

    def __init__(
        self, catalogue: Catalogue, plant: Plant | Remembered, notify: Callable[[str], None] = lambda name: None
    ) -> None:
        self._catalogue, self._plant, self._notify = catalogue, Remembered.of(plant), notify
        self._evidence = Accumulated(catalogue, self._plant, notify)

    @staticmethod
    def may_name(judgement: Judgement) -> bool:
        """Whether there is something to look for: a step that errs, or an arithmetic that bugs can hide in."""
        return bool(judgement.introduced) or unit_roundoff(judgement.dtype) >= COARSE

    def named(self, judgement: Judgement, *, oracle: Trace, baseline: Runs, candidate: Runs) -> Judgement:
        """The judgement with its causes; in coarse arithmetic with the bugs that all scenarios so far prove."""
        if candidate.lockstep is None or not self.may_name(judgement):
            return judgement
        if judgement.introduced:
            missing = missing_in(oracle, candidate.lockstep)
            variants = Filter(self._catalogue, self._plant, notify=self._notify, missing=missing)
            found = diagnose(judgement, oracle=oracle, lockstep=candidate.lockstep, variants=variants)
            judgement = replace(judgement, diagnoses=found)
        if unit_roundoff(judgement.dtype) < COARSE or baseline.lockstep is None:
            return judgement
        return self._evidence.judged(judgement, oracle=oracle, baseline=baseline.lockstep, candidate=candidate.lockstep)


def namer_of(reference: str, party: Party, progress: Progress) -> Namer:
    """For a candidate that is held against an installed reference, whose known bugs are planted in its own party."""
    catalogue = find_variants(reference) if reference in targets(VARIANTS) else Catalogue((), "", Path(), reference)
    return Namer(catalogue, PartyPlant(party), notify=lambda name: progress.step("diagnosis", name))
