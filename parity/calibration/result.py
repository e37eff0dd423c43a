"""What became of one judgement, as a line of a file that grows while a calibration runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from parity.errors import ExitCode
from parity.judging.judgement import Judgement
from parity.judging.verdict import Status, StepVerdict
from parity.results_file import ResultsFile, ResultsLine
from parity.scenario import Drawn

FORMAT = "parity-calibration"
RESULTS_VERSION = 1


Fields = dict[str, Any]


class Head(ResultsLine):
    """What the results of a file are of."""

    format: str = FORMAT
    version: int = RESULTS_VERSION
    seed: int
    reference: str
    model: str
    weights: str
    candidates: tuple[str, ...]
    dtypes: tuple[str, ...]
    environments: tuple[str, ...]
    allowed: float


class WorstStep(ResultsLine):
    """The step with the largest ratio of one kind of run.

    Attributes:
        ratio: of all views of its tensor, in floors.
        whole: of the tensor as a whole.
    """

    step: str
    phase: str
    ratio: float
    whole: float


class Result(ResultsLine):
    """One judgement of a candidate that is right.

    Attributes:
        draw: its input's number.
        environment: where the comparison ran.
        elsewhere: the candidate's own environment, if it had one.
        faint: whether bugs below the noise of each value were looked for.
        exit_code: of the judgement; with `refused` there is none, for the candidate cannot run such an input.
        counts: steps by status.
        lockstep, free: the worst step of each run; coarse ones are no false alarm at any K, and left out.
        coarse: the worst coarse step.
        first: the first step that diverged.
    """

    draw: int
    candidate: str
    dtype: str
    environment: str
    elsewhere: str = ""
    scenario: str
    prompt: str
    media: tuple[str, ...] = ()
    faint: bool = False
    exit_code: int = 0
    counts: dict[str, int] = Field(default_factory=dict)
    lockstep: WorstStep | None = None
    free: WorstStep | None = None
    coarse: WorstStep | None = None
    first: WorstStep | None = None
    failure: str = ""
    refused: str = ""

    @property
    def judged(self) -> bool:
        """Whether there is a judgement."""
        return not self.refused

    @property
    def flagged(self) -> bool:
        """Whether the candidate was accused of anything, were it a missing step or a crash."""
        return self.judged and self.exit_code != ExitCode.PARITY

    @property
    def ratio(self) -> float:
        """The worst of both runs, in floors."""
        return max((worst.ratio for worst in (self.lockstep, self.free) if worst), default=0.0)


def outcome(judgement: Judgement) -> Fields:
    """The fields of a result that a judgement gives."""
    fine = [step for step in judgement.steps if step.status is not Status.COARSE]
    coarse = [step for step in judgement.steps if step.status is Status.COARSE]
    first = judgement.first_divergence
    return {
        "exit_code": int(judgement.exit_code),
        "counts": {str(status): number for status, number in sorted(judgement.counts.items())},
        "lockstep": _worst(fine, "lockstep"),
        "free": _worst(fine, "free"),
        "coarse": _worst(coarse, "lockstep", "free"),
        "first": _worst([first], "lockstep", "free") if first else None,
        "failure": judgement.why,
    }


def _worst(steps: Sequence[StepVerdict], *runs: str) -> WorstStep | None:
    found = [(deviation, step) for step in steps for run in runs if (deviation := getattr(step, run))]
    if not found:
        return None
    deviation, step = max(found, key=lambda pair: pair[0].ratio)
    whole = deviation.error / deviation.floor if deviation.floor else deviation.ratio
    return WorstStep(step=step.step, phase=step.phase, ratio=deviation.ratio, whole=whole)


def described(drawn: Drawn) -> Fields:
    """The fields of a result that its input gives."""
    return {"scenario": drawn.scenario, "prompt": drawn.prompt, "media": drawn.shown}


class Results(ResultsFile[Head, Result]):
    """The results of one calibration."""

    what, heads, lines = "a calibration", Head, Result

    @property
    def judged(self) -> tuple[Result, ...]:
        """Those that are judgements."""
        return tuple(result for result in self.found if result.judged)

    @property
    def draws(self) -> frozenset[int]:
        """Numbers of the draws that are done."""
        return frozenset(result.draw for result in self.found)
