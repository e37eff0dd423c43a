"""What a survey found of one architecture, as a line of a file that grows while it runs."""

from __future__ import annotations

from collections.abc import Mapping

from parity.errors import ExitCode
from parity.results_file import ResultsFile, ResultsLine

FORMAT = "parity-survey"
SURVEY_VERSION = 1


class SurveyHead(ResultsLine):
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


class SurveyedRun(ResultsLine):
    """The judgement of one scenario in one arithmetic.

    Attributes:
        exit_code: of the judgement.
        steps: how many were compared.
        coarse: how many are coarse.
        first: the first step that diverged, and its phase; empty where none did.
        ratio: its error in floors, or the worst step's where none diverged.
        why: in words, where it is no parity.
        cause: what the diagnosis says of it; empty where it names nothing.
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


class Surveyed(ResultsLine):
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


class SurveyResults(ResultsFile[SurveyHead, Surveyed]):
    """The results of one survey."""

    what, heads, lines = "a survey", SurveyHead, Surveyed

    @property
    def by_model(self) -> Mapping[str, Surveyed]:
        """The results by type of model, in the order of the alphabet."""
        return {one.model: one for one in sorted(self.found, key=lambda one: one.model)}
