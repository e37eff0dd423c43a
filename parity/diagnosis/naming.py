"""Names what is wrong with one candidate, scenario after scenario: causes of introduced steps, bugs below the noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from parity.diagnosis.accumulated import Accumulated
from parity.diagnosis.diagnose import diagnose
from parity.diagnosis.evidence import missing_in
from parity.diagnosis.matched import Filter, PartyPlant
from parity.diagnosis.together import Plant, Remembered
from parity.dtypes import COARSE, unit_roundoff
from parity.entries import targets
from parity.judging.judgement import Judgement
from parity.running.party import Party
from parity.running.progress import Progress
from parity.traces.runs import Runs
from parity.traces.trace import Trace
from parity.variant import VARIANTS, Catalogue, find_variants


class Namer:
    """What is said of one candidate.

    Args:
        catalogue: known bugs of the reference that the oracle is.
        plant: runs the oracle with known bugs.
        notify: told of each run.
        coarse: runs the baseline with known bugs.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        plant: Plant | Remembered,
        notify: Callable[[str], None] = lambda name: None,
        coarse: Plant | Remembered | None = None,
    ) -> None:
        self._catalogue, self._plant, self._notify = catalogue, Remembered.of(plant), notify
        self._evidence = Accumulated(catalogue, self._plant, notify, coarse)

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


@dataclass(frozen=True)
class Knowledge:
    """What all candidates of a comparison are held against: known bugs, each of which is planted once.

    Attributes:
        catalogue: of the reference.
        oracle: plants them in the oracle's party.
        baseline: plants them in the baseline's.
    """

    catalogue: Catalogue
    oracle: Remembered
    baseline: Remembered

    @classmethod
    def of(cls, reference: str, *, oracle: Party, baseline: Party) -> Self:
        """The knowledge of an installed reference, planted in the parties of a comparison."""
        return cls(_catalogue(reference), *(Remembered(PartyPlant(party)) for party in (oracle, baseline)))

    def namer(self, progress: Progress) -> Namer:
        """A namer for one candidate."""
        return Namer(self.catalogue, self.oracle, _telling(progress), self.baseline)

    def forget(self) -> None:
        """Make room for the next scenario."""
        self.oracle.forget()
        self.baseline.forget()


def namer_of(reference: str, party: Party, progress: Progress) -> Namer:
    """A namer for one candidate alone, with known bugs in the oracle's party."""
    return Namer(_catalogue(reference), PartyPlant(party), _telling(progress))


def _catalogue(reference: str) -> Catalogue:
    """The known bugs of an installed reference, which may have none."""
    return find_variants(reference) if reference in targets(VARIANTS) else Catalogue((), "", Path(), reference)


def _telling(progress: Progress) -> Callable[[str], None]:
    return lambda name: progress.step("diagnosis", name)
