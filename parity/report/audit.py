"""What an audit says on a terminal and as JSON; the words that its page shares."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console

from parity.audit.effect import Effect
from parity.audit.outcome import Outcome
from parity.audit.result import Audit, Audits
from parity.judging.verdict import StepVerdict
from parity.report.console import plain, print_line
from parity.report.numbers import count, error, floors, ratio
from parity.report.sentences import WORD, inputs
from parity.report.table import Table

MINUTE = 60


def print_audits(audits: Audits, out: Console) -> None:
    """A line for each run, package by package, then what is left unexplained."""
    for audit in audits.audits:
        print_line(out, (plain(audit.name), "bold"))
        grid = Table("inputs", "dtype", "mended", "verdict", "first divergence", "floors", "steps", "tokens")
        for outcome in audit.outcomes:
            grid.add(*(plain(cell) for cell in _cells(outcome)))
        grid.print(out)
        for line in unexplained(audit):
            print_line(out, ("unexplained: ", "bold red"), plain(line))
    print_line(out, effort(audits))


def _cells(outcome: Outcome) -> tuple[str, ...]:
    given = (inputs(outcome.trial.inputs), outcome.dtype, outcome.trial.mended or "-")
    if outcome.message:
        return (*given, failed(outcome), "-", "-", "-", "-")
    first, far = (outcome.first.step, outcome.first.ratio) if outcome.first else ("-", outcome.worst)
    return (*given, WORD[outcome.verdict], first, ratio(far), str(len(outcome.introduced)), tokens(outcome.effect))


def failed(outcome: Outcome) -> str:
    """Why there is no judgement, in one word."""
    return "crashed" if outcome.crashed else "refused"


def tokens(effect: Effect | None) -> str:
    """How many greedy choices are the oracle's, e.g. ``5 of 9``."""
    if effect is None:
        return "-"
    return f"{effect.same} of {effect.tokens}{' last' if effect.last else ''}"


def logits(effect: Effect | None) -> str:
    """The relative error of the logits."""
    if effect is None:
        return "-"
    return error(effect.logits) if math.isfinite(effect.logits) else "NaN"


def size(outcome: Outcome) -> str:
    """The verdict with the largest ratio, e.g. ``parity, worst 3.1``."""
    return failed(outcome) if outcome.message else f"{WORD[outcome.verdict]}, worst {floors(outcome.worst)}"


def far(step: StepVerdict) -> str:
    """How far off a step is: floors, or what is wrong with its form."""
    return step.note if step.ratio != step.ratio else floors(step.ratio)


def unexplained(audit: Audit) -> Iterator[str]:
    """What is left to explain, a sentence each."""
    for outcome in audit.unexplained:
        yield f"{outcome.trial.candidate} {outcome.dtype}, {inputs(outcome.trial.inputs)}: {outcome.unexplained}"


def effort(audits: Audits) -> str:
    """How much was run, how long that took, and on what."""
    minutes = count(max(1, round(audits.seconds / MINUTE)), "minute")
    return f"{count(audits.runs, 'run')} of candidates in {minutes}, on {plain(audits.machine)}"


def as_json(audits: Audits) -> dict[str, Any]:
    """Everything as plain data."""
    packages = [
        {
            "package": audit.package,
            "versions": dict(audit.versions),
            "digest": audit.subject.digest,
            "unexplained": list(unexplained(audit)),
            "places": {name: list(places) for name, places in audit.places.items()},
            "runs": [_run(outcome) for outcome in audit.outcomes],
        }
        for audit in audits.audits
    ]
    head = {"schema": "parity-audit", "version": 1, "model": audits.model, "machine": audits.machine}
    return {**head, "seconds": round(audits.seconds), "packages": packages}


def _run(outcome: Outcome) -> dict[str, Any]:
    given, first = outcome.trial, outcome.first
    return {
        "candidate": given.candidate,
        "fault": given.fault.name if given.fault else None,
        "scenario": given.inputs.scenario,
        "media": list(given.inputs.media),
        "dtype": outcome.dtype,
        "verdict": failed(outcome) if outcome.message else WORD[outcome.verdict],
        "message": outcome.message,
        "first_divergence": {"step": first.step, "phase": first.phase, "ratio": _finite(first.ratio)}
        if first
        else None,
        "introduced": list(outcome.introduced),
        "worst": _finite(outcome.worst),
        "hidden": outcome.hidden,
        "uncovered": outcome.uncovered,
        "unexpected": outcome.unexpected,
        "parts": [{**asdict(part), "worst": _finite(part.worst)} for part in outcome.parts],
        "effect": {**asdict(outcome.effect), "logits": _finite(outcome.effect.logits)} if outcome.effect else None,
        "causes": [cause.name for said in outcome.diagnoses for cause in said.causes],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
