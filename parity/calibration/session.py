"""The parties of one setting, loaded once, and the judgements of drawn inputs that they allow."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from parity.calibration.result import Fields, Result, described, outcome
from parity.calibration.settings import Entrant, Environment, Setting, entrants
from parity.checkpoint import Checkpoint
from parity.diagnosis.naming import Knowledge
from parity.discovery import Choice, find, find_reference
from parity.dtypes import COARSE, unit_roundoff
from parity.errors import ParityError, UsageError
from parity.judging.baseline import Baseline, judged
from parity.judging.judgement import Judgement
from parity.running.parties import Parties
from parity.running.party import Crash, Party, both
from parity.running.plan import plan_of
from parity.running.progress import Silent
from parity.scenario import Drawn
from parity.traces.trace import Trace

CANDIDATE = "candidate"
"""Folder of one candidate's runs, which are gone before the next candidate's."""
FAINT_EVERY = 11
"""One of so many draws is judged with bugs below the noise as well, which a comparison looks for in every run of a
coarse arithmetic: planting some 300 of them takes as long as all else of a draw. Prime, so that it meets every setting.
"""
THREADS = 1
"""Threads of each party, unless its environment says otherwise: sessions run side by side, one on each core."""


@dataclass(frozen=True)
class Sitting:
    """What a session judges.

    Attributes:
        candidates: backends that are right, by name and options.
        folder: where it may write.
    """

    checkpoint: Checkpoint
    reference: str
    candidates: tuple[str, ...]
    seed: int
    setting: Setting
    folder: Path

    def drawn(self, number: int, folder: Path) -> Drawn:
        """The input of that number, which depends on it and the seed alone; its files are written to a folder."""
        return find_reference(self.reference).draw(random.Random(f"{self.seed} {number}"), folder)


class Session:
    """Judges every candidate that has the setting's arithmetic; `close` ends the parties."""

    def __init__(self, sitting: Sitting) -> None:
        self._sitting, self._setting = sitting, sitting.setting
        self._candidates: dict[Entrant, Party] = {}
        self._refused: dict[Entrant, str] = {}
        with ExitStack() as stack:
            parties = Parties(
                sitting.checkpoint, sitting.reference, Silent(), environment=_variables(self._setting.here)
            )
            self._parties = stack.enter_context(parties)
            self._oracle, self._baseline = parties.oracle, parties.reference("baseline", self._setting.dtype)
            self._known = Knowledge.of(sitting.reference, oracle=self._oracle, baseline=self._baseline)
            for party in parties:
                parties.load(party)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """End the parties."""
        self._stack.close()

    def results(self, number: int) -> Iterator[Result]:
        """What becomes of each candidate with the input of that number."""
        folder = self._sitting.folder / str(number)
        folder.mkdir(parents=True)
        try:
            drawn = self._sitting.drawn(number, folder)
            for trial, became in self._outcomes(drawn, folder, faint=self._is_faint(number)):
                yield self._result(number, drawn, trial, became)
        finally:
            self._known.forget()
            shutil.rmtree(folder, ignore_errors=True)

    def _is_faint(self, number: int) -> bool:
        """Whether bugs below the noise are looked for with the input of that number."""
        return number % FAINT_EVERY == 0 and unit_roundoff(self._setting.dtype) >= COARSE

    def _outcomes(self, drawn: Drawn, folder: Path, *, faint: bool) -> Iterator[tuple[Entrant, Fields]]:
        """Each candidate's, under a baseline that all share; an input that the reference refuses is no one's."""
        try:
            plan = plan_of(self._oracle, drawn.scenario, drawn.prompt, drawn.media)
        except UsageError as refusal:
            yield from ((trial, {"refused": f"the reference: {refusal}"}) for trial in self._trials)
            return
        oracle = self._oracle.run(folder / "oracle", scenario=plan)
        baseline = Baseline(self._baseline, oracle, folder)
        for trial in self._trials:
            yield trial, self._judged(trial, folder, oracle, baseline, faint=faint)

    @property
    def _trials(self) -> Iterator[Entrant]:
        """Every candidate that has the setting's arithmetic, everywhere that it runs."""
        for candidate in self._sitting.candidates:
            found = find(candidate)
            if self._setting.dtype in found.dtypes:
                _, *others = Environment.all_of(found.environments())
                is_baseline = Choice.parse(candidate) == Choice(self._sitting.reference)
                yield from entrants(candidate, others, self._setting, is_baseline=is_baseline)

    def _judged(self, trial: Entrant, folder: Path, oracle: Trace, baseline: Baseline, *, faint: bool) -> Fields:
        if trial in self._refused:
            return {"refused": self._refused[trial]}
        try:
            runs = both(self._loaded(trial), folder / CANDIDATE / "run", oracle)
            judgement, held_to = judged(oracle=oracle, baseline=baseline, candidate=runs, name=trial.candidate)
            if faint:
                namer = self._known.namer(Silent())
                judgement = namer.named(judgement, oracle=oracle, baseline=held_to, candidate=runs)
            return outcome(judgement) | {"faint": faint}
        except Crash as crash:
            if party := self._candidates.pop(trial, None):
                self._parties.end(party)
            return outcome(Judgement.of_crash(str(crash), candidate=trial.candidate, dtype=self._setting.dtype))
        except ParityError as refusal:
            if trial not in self._candidates:  # it is not loaded, and never will be
                self._refused[trial] = str(refusal)
            return {"refused": str(refusal)}
        finally:
            shutil.rmtree(folder / CANDIDATE, ignore_errors=True)

    def _result(self, number: int, drawn: Drawn, trial: Entrant, became: Fields) -> Result:
        return Result(
            draw=number,
            candidate=trial.candidate,
            dtype=self._setting.dtype,
            environment=self._setting.here.name,
            elsewhere=trial.elsewhere.name if trial.elsewhere else "",
            **described(drawn),
            **became,
        )

    def _loaded(self, trial: Entrant) -> Party:
        """A candidate is loaded when it is first needed."""
        if trial not in self._candidates:
            variables = _variables(trial.elsewhere) if trial.elsewhere else None
            party = self._parties.candidate(trial.candidate, self._setting.dtype, variables)
            self._candidates[trial] = self._parties.load(party)
        return self._candidates[trial]


def _variables(where: Environment) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(THREADS), "OPENBLAS_NUM_THREADS": str(THREADS), **dict(where.variables)}
