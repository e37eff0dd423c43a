"""One architecture: a small checkpoint is drawn, its contract learned, and the port judged by that."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from parity.checkpoint import Checkpoint, config_of
from parity.compare import Request, compare
from parity.discovery import REFERENCES, find, with_table
from parity.errors import ExitCode, ParityError
from parity.fault import ALL, OPTION, Fault
from parity.judging.judgement import Judgement
from parity.judging.verdict import Status
from parity.learnable import Learnable, for_any_model
from parity.learning.learn import Learned, learn
from parity.learning.subject import small_checkpoint
from parity.learning.taps import ANY
from parity.running.progress import Silent
from parity.scratch import scratch
from parity.survey.result import Surveyed, SurveyedRun


@dataclass(frozen=True)
class Examination:
    """What an architecture is examined by.

    Attributes:
        reference: the name of the side that is true.
        candidate: the port's.
        dtypes: arithmetics that it is judged in.
    """

    reference: str
    candidate: str
    dtypes: tuple[str, ...]


def examine(model: str, by: Examination) -> Surveyed:
    """Draw, learn, judge; what fails is said, and what was found before stays."""
    began, found, stage, at = time.monotonic(), Surveyed(model=model), "draw", ""
    try:
        with small_checkpoint(model, by.reference, Silent()) as checkpoint, scratch() as folder:
            stage, table, at = "learn", folder / "table.toml", str(checkpoint.path)
            learned = learn(checkpoint, reference=by.reference, candidate=by.candidate, progress=Silent())
            learned.table.write(table)
            stage, found = "judge", found.model_copy(update=_learned(learned))
            found = found.model_copy(update=_Bench(checkpoint, table, by).results())
    except Exception as error:  # the survey goes on with the next architecture, whatever this one throws
        said = str(error) if isinstance(error, ParityError) else f"{type(error).__name__}: {error}"
        found = found.model_copy(update={"stage": stage, "failure": " ".join(_anywhere(said, at).split())})
    return found.model_copy(update={"seconds": round(time.monotonic() - began, 1)})


def _anywhere(message: str, at: str) -> str:
    """A message without the folder that the checkpoint was drawn in, which is another each time."""
    return message.replace(at, Path(at).name) if at else message


def _learned(learned: Learned) -> dict[str, Any]:
    rows = learned.table.rows
    return {
        "rows": len(rows),
        "bridged": sum(row.confidence.startswith(("bridged", "by likeness")) for row in rows),
        "paired": learned.paired,
        "values": learned.values[1],
        "unwoven": len(learned.unwoven),
    }


@dataclass(frozen=True)
class _Bench:
    """A checkpoint with its table, where a port is judged."""

    checkpoint: Checkpoint
    table: Path
    by: Examination

    def results(self) -> dict[str, Any]:
        """The runs, and again those that diverged with what is known of the package edited."""
        true = for_any_model(find(with_table(self.by.reference, ANY), REFERENCES))
        scenarios = true.survey_scenarios(config_of(self.checkpoint.path))
        runs = [run for dtype in self.by.dtypes for run in self._runs(self.by.candidate, dtype, scenarios)]
        known = known_of(self.by.candidate, self.checkpoint.model_type)
        wrong = [run for run in runs if run.exit_code == ExitCode.DIVERGED]
        if known and wrong:
            mended = self._mended(wrong)
            runs = [mended.get((run.dtype, run.scenario), run) for run in runs]
        return {"runs": tuple(runs), "known": tuple(fault.wrong for fault in known)}

    def _runs(self, candidate: str, dtype: str, scenarios: Sequence[str]) -> list[SurveyedRun]:
        request = Request(
            checkpoint=self.checkpoint,
            candidates=(with_table(candidate, str(self.table)),),
            dtype=dtype,
            scenarios=tuple(scenarios),
            prompt=None,
            reference=with_table(self.by.reference, str(self.table)),
            remember=True,
        )
        return [surveyed(judgement) for judgement in compare(request, progress=Silent()).judgements]

    def _mended(self, wrong: Sequence[SurveyedRun]) -> dict[tuple[str, str], SurveyedRun]:
        """Runs that diverged, with what the edits made of them; the table is another, for an edit renames places."""
        mended = f"{self.by.candidate}@{OPTION}={ALL}"
        table = self.table.with_name("mended.toml")
        learn(self.checkpoint, reference=self.by.reference, candidate=mended, progress=Silent()).table.write(table)
        found = {}
        for run in wrong:
            (again,) = replace(self, table=table)._runs(mended, run.dtype, [run.scenario])
            is_right = again.exit_code == ExitCode.PARITY
            found[run.dtype, run.scenario] = run.model_copy(update={"mended": is_right})
        return found


def known_of(candidate: str, model: str) -> Sequence[Fault]:
    """What is known of a package's port of a type of model."""
    found = find(with_table(candidate, ANY))
    return found.known(model) if issubclass(found, Learnable) else ()


def surveyed(judgement: Judgement) -> SurveyedRun:
    """A judgement as a result."""
    first = judgement.first_divergence
    shown = first or judgement.worst
    return SurveyedRun(
        scenario=judgement.scenario,
        dtype=judgement.dtype,
        exit_code=int(judgement.exit_code),
        steps=len(judgement.steps),
        coarse=judgement.counts[Status.COARSE],
        first=first.step if first else "",
        phase=first.phase if first else "",
        ratio=shown.ratio if shown else 0.0,
        why=judgement.why,
        cause=_cause(judgement),
    )


def _cause(judgement: Judgement) -> str:
    first = judgement.first_divergence
    said = judgement.diagnosis(first.step) if first else None
    return " and ".join(one.meaning for one in said.causes) if said else ""
