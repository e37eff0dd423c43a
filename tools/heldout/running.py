"""Draws faults of one architecture, and judges each by the clean port's table and by one that is learned of itself."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from parity.checkpoint import Checkpoint
from parity.compare import Request, compare
from parity.discovery import with_table
from parity.errors import ParityError
from parity.judging.judgement import Judgement
from parity.learning.everywhere import functions_of
from parity.learning.learn import Learned, learn
from parity.learning.lessons import KnownTruth, known_truth, open_lessons
from parity.learning.subject import small_checkpoint
from parity.learning.table import LearnedTable
from parity.running.progress import Silent
from parity.scratch import scratch
from parity.survey.examining import surveyed
from parity.survey.result import SurveyedRun
from parity.traces.runs import Runs
from parity.traces.trace import Trace
from tools.heldout import results as words
from tools.heldout.placing import placed
from tools.heldout.plants import Plant, drawn, plants
from tools.heldout.port import EDITS, OPTION, Planted
from tools.heldout.results import HeldoutFault, HeldoutModel, Placed, Redrawn
from tools.heldout.truth import Truth, stands_behind, truth_of

REFERENCE = "transformers"
PORT = f"{Planted.__module__}:{Planted.__qualname__}"
PACKAGE = "mlx_lm.models."
DTYPE = "float32"
SCENARIO = "long"
"""Beyond a sliding window, and two decode steps behind it: what most faults show in."""
CLEAN = (SCENARIO, "one-shot", "decode", "chunked", "batch")
"""Scenarios of the port as it is."""
AT_ONCE = 4
"""Faulty ports that are judged beside the clean one, each in a process; one more than are wanted, for some are none."""


@dataclass(frozen=True)
class Found:
    """A drawn change whose runs are there.

    Attributes:
        truth: what it changes; None where that is nothing.
        judgement: by the clean port's table.
    """

    truth: Truth | None
    judgement: Judgement


def examine(model: str, kind: str, faults: int, clean: Sequence[str] = CLEAN) -> HeldoutModel:
    """Draw, learn, plant, judge; what fails is said.

    Args:
        model: its type.
        kind: what it has besides.
        faults: how many are judged.
        clean: scenarios of the port as it is.
    """
    began, found = time.monotonic(), HeldoutModel(model=model, kind=kind)
    try:
        with (
            small_checkpoint(model, REFERENCE, Silent()) as checkpoint,
            known_truth(checkpoint, reference=REFERENCE, progress=Silent()) as known,
            scratch() as folder,
        ):
            found = found.model_copy(update=_Bench(checkpoint, known, folder).results(faults, clean))
    except Exception as error:  # the next architecture is judged, whatever this one throws
        said = str(error) if isinstance(error, ParityError) else f"{type(error).__name__}: {error}"
        found = found.model_copy(update={"failure": " ".join(said.split())})
    return found.model_copy(update={"seconds": round(time.monotonic() - began, 1)})


class _Bench:
    """A checkpoint, what is true of it, and the clean port's table."""

    def __init__(self, checkpoint: Checkpoint, known: KnownTruth, folder: Path) -> None:
        self._checkpoint, self._known, self._folder = checkpoint, known, folder
        self._module = importlib.import_module(PACKAGE + checkpoint.model_type)
        self._functions = functions_of([self._module])
        learned, self._table = self._learned(PORT, "clean")
        self._rows = {row.reference: row for row in learned.table.members()}

    def results(self, faults: int, clean: Sequence[str]) -> Mapping[str, object]:
        """Of the port as it is, and with each fault."""
        found = plants(self._module, self._ran())
        order = drawn(found, self._checkpoint.model_type)
        runs = self._clean(clean)
        kept: list[HeldoutFault] = []
        others: list[Redrawn] = []
        while len(kept) < faults and (some := [*islice(order, min(AT_ONCE, faults - len(kept) + 1))]):
            for plant, one in self._judged(some):
                if one.judgement.crash or one.truth is None or not one.truth.matters:
                    others.append(_redrawn(plant, one))
                elif len(kept) < faults:
                    kept.append(self._fault(plant, one.truth, one.judgement))
        rows = len(LearnedTable.read(self._table).rows)
        return {"rows": rows, "places": len(found), "clean": runs, "faults": tuple(kept), "redrawn": tuple(others)}

    def _ran(self) -> set[str]:
        """Functions of the model's own module that a run calls."""
        phases = self._places(PORT)
        frames = {frame for phase in phases for place in phase for frame in place.partition(": ")[0].split("/")[1:]}
        own = {name.partition(":")[2] for name in self._functions}
        return {frame.partition("@")[0] for frame in frames} & own

    def _places(self, spec: str) -> list[list[str]]:
        """Every place of a port in the order of its run, phase after phase."""
        known = self._known
        opened = open_lessons(known.checkpoint, reference=REFERENCE, candidate=spec, progress=Silent(), truth=known)
        with opened as lessons:
            return [[*phase] for phase in lessons.candidate(next(iter(known.phases)))]

    def _clean(self, scenarios: Sequence[str]) -> tuple[SurveyedRun, ...]:
        return tuple(surveyed(one) for one in compare(self._request([PORT], scenarios), progress=Silent()).judgements)

    def _judged(self, some: Sequence[Plant]) -> Iterator[tuple[Plant, Found]]:
        """Some at once, beside the port as it is, which says what each changes."""
        specs, look = [self._spec(plant) for plant in some], _Look()
        judgements = compare(self._request([PORT, *specs], [SCENARIO]), progress=Silent(), look=look).judgements
        by_name = {judgement.candidate: judgement for judgement in judgements}
        for plant, spec in zip(some, specs, strict=True):
            yield plant, Found(look.truths.get(spec), by_name[spec])

    def _fault(self, plant: Plant, change: Truth, judgement: Judgement) -> HeldoutFault:
        truth = replace(change, places=self._rows[change.reference].candidate)
        function = self._functions.get(plant.edit.function)
        behind = stands_behind(plant, function, truth.places[0]) if function else None
        return HeldoutFault(
            rule=plant.rule,
            function=plant.edit.function.removeprefix(PACKAGE),
            line=plant.line,
            old=plant.old,
            new=plant.new,
            step=truth.key.step,
            phase=truth.key.phase,
            place=" or ".join(truth.places),
            behind=behind,
            change=truth.change,
            logits=truth.logits,
            by_clean=self._placed(truth, judgement, LearnedTable.read(self._table)),
            by_own=self._by_own(plant, truth),
        )

    def _by_own(self, plant: Plant, truth: Truth) -> Placed:
        """The verdict by a table that was learned of the faulty port, as if there were no other."""
        spec = self._spec(plant)
        try:
            learned, table = self._learned(spec, "own")
        except ParityError as error:
            return Placed(where=words.CRASH, why=f"no table: {error}")
        (judgement,) = compare(self._request([spec], [SCENARIO], table), progress=Silent()).judgements
        return self._placed(truth, judgement, learned.table, self._places(spec))

    def _placed(
        self, truth: Truth, judgement: Judgement, table: LearnedTable, ports: Sequence[Sequence[str]] = ()
    ) -> Placed:
        runs = [phase.oracle for phases in self._known.phases.values() for phase in phases]
        return placed(truth, judgement, table, runs, ports)

    def _learned(self, spec: str, name: str) -> tuple[Learned, Path]:
        learned = learn(self._checkpoint, reference=REFERENCE, candidate=spec, progress=Silent(), known=self._known)
        path = self._folder / f"{name}.toml"
        learned.table.write(path)
        return learned, path

    def _spec(self, plant: Plant) -> str:
        file = self._folder / "edits" / f"{abs(hash(plant))}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(EDITS.dump_json((plant.edit,)))
        return f"{PORT}@{OPTION}={file}"

    def _request(self, specs: Sequence[str], scenarios: Sequence[str], table: Path | None = None) -> Request:
        by = str(table or self._table)
        return Request(
            checkpoint=self._checkpoint,
            candidates=tuple(with_table(spec, by) for spec in specs),
            dtype=DTYPE,
            scenarios=tuple(scenarios),
            prompt=None,
            reference=with_table(REFERENCE, by),
            diagnose=False,
        )


class _Look:
    """Sees the traces of the port as it is, which come first, and of each with a fault."""

    def __init__(self) -> None:
        self.truths: dict[str, Truth | None] = {}
        self._clean: Trace | None = None

    def __call__(self, judgement: Judgement, *, oracle: Trace, baseline: Runs | None, candidate: Runs) -> None:
        """Take the free run."""
        if self._clean is None:
            self._clean = candidate.free
        elif candidate.free is not None:
            self.truths[judgement.candidate] = truth_of(oracle.contract, clean=self._clean, planted=candidate.free)


def _redrawn(plant: Plant, one: Found) -> Redrawn:
    why = "crashes" if one.judgement.crash else "changes nothing"
    return Redrawn(rule=plant.rule, function=plant.edit.function.removeprefix(PACKAGE), new=plant.new, why=why)
