"""What became of one judgement, as a line of a file that grows while a calibration runs.

The first line says what the rest are results of; a calibration that is started again goes on behind the last one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from parity.errors import ExitCode, UsageError
from parity.judging.judgement import Judgement
from parity.judging.verdict import Status, StepVerdict
from parity.scenario import Drawn

FORMAT = "parity-calibration"
RESULTS_VERSION = 1


Fields = dict[str, Any]


class _Strict(BaseModel):
    # JSON has no infinity, and a ratio may be infinite: an integer step that differs has no floor.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Head(_Strict):
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


class WorstStep(_Strict):
    """The step with the largest ratio of one kind of run.

    Attributes:
        ratio: of all views of its tensor, in floors.
        whole: of the tensor as a whole.
    """

    step: str
    phase: str
    ratio: float
    whole: float


class Result(_Strict):
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
    counts: dict[str, int] = {}
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
        "failure": judgement.crash or _why(first, judgement),
    }


def _why(first: StepVerdict | None, judgement: Judgement) -> str:
    """What is wrong where no ratio says it: a shape, a value that is not finite, a token, a missing step."""
    if first is not None:
        return f"{first.step} ({first.phase}) is {first.status}{f': {first.note}' if first.note else ''}"
    if token := next((token for token in judgement.tokens if token.diverged), None):
        return f"token {token.token} of row {token.row} ({token.phase}) is {token.candidate}, not {token.oracle}"
    if judgement.missing:
        return f"{judgement.missing[0].step} is {judgement.missing[0].status}"
    return ""


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


class Results:
    """The results of one calibration, kept in a file.

    Attributes:
        head: what they are of.
        found: all of them, in the order in which they were written.
    """

    def __init__(self, path: Path, head: Head, found: Iterable[Result] = ()) -> None:
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
            return cls(path, Head.model_validate_json(first), [Result.model_validate_json(line) for line in whole])
        except (OSError, ValueError) as error:
            what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise UsageError(f"{path} holds no results of a calibration: {what}") from error

    @classmethod
    def begin(cls, path: Path, head: Head) -> Self:
        """Go on with the results of that file, or begin it.

        Raises:
            UsageError: when they are of something else.
        """
        if not path.exists():
            path.write_text(head.model_dump_json() + "\n", encoding="utf-8")
            return cls(path, head)
        results = cls.read(path)
        for what in Head.model_fields:
            there, here = getattr(results.head, what), getattr(head, what)
            if there != here:
                raise UsageError(f"{path} is of another {what}, {there} and not {here}; remove it or name another file")
        path.write_text("".join(f"{line.model_dump_json()}\n" for line in (head, *results.found)), encoding="utf-8")
        return results

    def add(self, results: Sequence[Result]) -> None:
        """Write the results of a draw, all or, where the machine fails, the first of them."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write("".join(f"{result.model_dump_json()}\n" for result in results))
            stream.flush()
            os.fsync(stream.fileno())
        self.found += results

    @property
    def judged(self) -> tuple[Result, ...]:
        """Those that are judgements."""
        return tuple(result for result in self.found if result.judged)

    @property
    def draws(self) -> frozenset[int]:
        """Numbers of the draws that are done."""
        return frozenset(result.draw for result in self.found)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
