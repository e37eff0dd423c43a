"""What a survey found of one architecture, as a line of a file that grows while it runs.

The first line says what the rest are results of; a survey that is started again goes on behind the last one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from parity.errors import ExitCode, UsageError

FORMAT = "parity-survey"
SURVEY_VERSION = 1


class _Strict(BaseModel):
    # JSON has no infinity, and a ratio may be infinite: an integer step that differs has no floor.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class SurveyHead(_Strict):
    """What the results of a file are of.

    Attributes:
        versions: of the reference's libraries and of the candidate's, by name.
        limit: seconds that an architecture may take.
    """

    format: str = FORMAT
    version: int = SURVEY_VERSION
    reference: str
    candidate: str
    versions: dict[str, str]
    dtypes: tuple[str, ...]
    limit: float


class SurveyedRun(_Strict):
    """The judgement of one scenario in one arithmetic.

    Attributes:
        exit_code: of the judgement.
        steps: how many were compared.
        coarse: how many are coarse.
        first: the first step that diverged, and its phase; empty where none did.
        ratio: its error in floors, or the worst step's where none diverged.
        why: in words, where it is no parity.
        cause: what the diagnosis names, or that it names nothing.
        mended: whether it is at parity with what is known of the package edited; None where that was not run.
    """

    scenario: str
    dtype: str
    exit_code: int
    steps: int = 0
    coarse: int = 0
    first: str = ""
    phase: str = ""
    ratio: float = 0.0
    why: str = ""
    cause: str = ""
    mended: bool | None = None


class Surveyed(_Strict):
    """One architecture.

    Attributes:
        model: its type.
        rows: of the learned table.
        bridged: rows that were paired past a fault of the port.
        paired, values: values of the port that have a row, and that there are.
        unwoven: functions that no tap could stand in.
        runs: the judgements.
        known: what is known of the package here, whose edits were in force in the mended runs.
        stage: what could not be done: ``draw``, ``learn`` or ``judge``; empty where all was.
        failure: why not.
        seconds: that all of it took.
    """

    model: str
    rows: int = 0
    bridged: int = 0
    paired: int = 0
    values: int = 0
    unwoven: int = 0
    runs: tuple[SurveyedRun, ...] = ()
    known: tuple[str, ...] = ()
    stage: str = ""
    failure: str = ""
    seconds: float = 0.0

    @property
    def diverged(self) -> tuple[SurveyedRun, ...]:
        """Runs that are no parity because a value or a token is another."""
        return tuple(run for run in self.runs if run.exit_code == ExitCode.DIVERGED)

    @property
    def judged(self) -> tuple[SurveyedRun, ...]:
        """Runs that ended."""
        return tuple(run for run in self.runs if run.exit_code != ExitCode.UNAVAILABLE)

    @property
    def proven(self) -> bool:
        """Whether each divergence goes away with what is known of the package edited."""
        return all(run.mended for run in self.diverged)


class SurveyResults:
    """The results of one survey, kept in a file.

    Attributes:
        head: what they are of.
        found: all of them, in the order in which they were written.
    """

    def __init__(self, path: Path, head: SurveyHead, found: Iterable[Surveyed] = ()) -> None:
        self.path, self.head, self.found = path, head, list(found)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file; its last line may have been cut off in the middle of being written.

        Raises:
            UsageError: when it cannot be read or holds something else.
        """
        try:
            first, *lines = path.read_text(encoding="utf-8").splitlines()
            whole = lines if not lines or _is_json(lines[-1]) else lines[:-1]
            head = SurveyHead.model_validate_json(first)
            return cls(path, head, [Surveyed.model_validate_json(line) for line in whole])
        except (OSError, ValueError) as error:
            what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise UsageError(f"{path} holds no results of a survey: {what}") from error

    @classmethod
    def begin(cls, path: Path, head: SurveyHead) -> Self:
        """Go on with the results of that file, or begin it.

        Raises:
            UsageError: when they are of something else.
        """
        results = cls.read(path) if path.exists() else cls(path, head)
        for what in SurveyHead.model_fields:
            there, here = getattr(results.head, what), getattr(head, what)
            if there != here:
                raise UsageError(f"{path} is of another {what}, {there} and not {here}; remove it or name another file")
        path.write_text("".join(f"{line.model_dump_json()}\n" for line in (head, *results.found)), encoding="utf-8")
        return results

    def add(self, result: Surveyed) -> None:
        """Write a result, at once."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(f"{result.model_dump_json()}\n")
            stream.flush()
            os.fsync(stream.fileno())
        self.found.append(result)

    @property
    def by_model(self) -> Mapping[str, Surveyed]:
        """The results by type of model, in the order of the alphabet."""
        return {one.model: one for one in sorted(self.found, key=lambda one: one.model)}


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
