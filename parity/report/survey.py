"""What a survey says of an architecture, and of all together, in words that its page and the terminal share."""

from __future__ import annotations

from collections.abc import Iterator

from parity.errors import ExitCode
from parity.report.numbers import count, floors
from parity.report.sentences import WORD
from parity.survey.result import Surveyed, SurveyedRun, SurveyResults

VERDICTS = WORD | {ExitCode.UNAVAILABLE: "not judged"}
"""A side that cannot run is no verdict on the port."""


def verdict(run: SurveyedRun) -> str:
    """Of one run: parity, coarse, diverged, incomplete, or not judged."""
    found = VERDICTS[ExitCode(run.exit_code)]
    return "coarse" if found == "parity" and run.coarse else found


def outcome(one: Surveyed) -> str:
    """Of an architecture: the first of these that any run has, or where it ended."""
    if not one.judged:
        return f"not judged: {one.stage or 'judge'}"
    verdicts = [verdict(run) for run in one.judged]
    found = next(word for word in ("diverged", "incomplete", "coarse", "parity") if word in verdicts)
    return f"{found}, {'proven' if one.proven else 'unproven'}" if found == "diverged" else found


def totals(results: SurveyResults) -> Iterator[str]:
    """How many architectures there are, were judged, and what became of them."""
    found = list(results.by_model.values())
    judged = [one for one in found if one.judged]
    yield f"{count(len(found), 'architecture')}, {len(judged)} learned and judged"
    for word in ("parity", "coarse", "incomplete", "diverged, proven", "diverged, unproven"):
        if names := [one.model for one in judged if outcome(one) == word]:
            yield f"{word}: {len(names)} ({', '.join(names)})"
    if left := [one.model for one in found if not one.judged]:
        yield f"not judged: {len(left)} ({', '.join(left)})"


def divergence(run: SurveyedRun) -> str:
    """What is another in a run, and by how much."""
    if not run.first:
        return run.why
    return f"{run.first} ({run.phase}): {floors(run.ratio)}"
