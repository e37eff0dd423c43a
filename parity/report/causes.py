"""What a report says of a diagnosis: the cause, or the nearest; where the error is; what that rests on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from parity.report.numbers import count
from parity.verdict import Cause, Diagnosis, Judgement, StepVerdict

MOST_STEPS = 3
"""Steps that a line names."""


def cause(diagnosis: Diagnosis) -> str:
    """The cause in one sentence, or that it is not known."""
    if not diagnosis.causes:
        return _unknown(diagnosis)
    share = f"explains {_percent(diagnosis.causes[0].explained)}"
    said = [_said(one) for one in diagnosis.causes]
    if len(said) == 1:
        return f"{said[0]} ({_coefficient(diagnosis.causes[0])}{share}){_seen(diagnosis.causes[0])}"
    return f"{' and '.join(said)} (together {share})"


def evidence(diagnosis: Diagnosis) -> str:
    """Where the error is, and what the cause rests on."""
    layers = f" of {count(len(diagnosis.steps), 'step')}" if len(diagnosis.steps) > 1 else ""
    values = f"{count(diagnosis.values, 'value')}{layers} in {', '.join(diagnosis.phases)}"
    if diagnosis.sigmas:
        return (
            f"{values}, below the noise of each: {diagnosis.sigmas:.0f} standard deviations over {diagnosis.rows} rows"
        )
    faint = f"; {_percent(diagnosis.noise)} of the error's energy is noise" if diagnosis.noise >= 0.001 else ""
    return f"{values}{faint}{f'; the error is {diagnosis.where}' if diagnosis.where else ''}"


def lines(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    """Label and text, two or three lines."""
    yield "cause", cause(diagnosis)
    if alike := [name for one in diagnosis.causes for name in one.alike]:
        yield "or", f"{', '.join(alike)}, which would look the same"
    yield "seen in", evidence(diagnosis)


def further(judgement: Judgement, first: StepVerdict | None) -> Iterator[tuple[str, str]]:
    """Steps besides the first divergence, and what is named for them; steps of one cause together."""
    found: dict[str, list[str]] = {}
    for diagnosis in judgement.diagnoses:
        if diagnosis.causes and (first is None or first.step not in diagnosis.steps):
            found.setdefault(cause(diagnosis), []).extend(diagnosis.steps)
    for text, steps in found.items():
        more = f" and {len(steps) - MOST_STEPS} more" if len(steps) > MOST_STEPS else ""
        yield f"{', '.join(steps[:MOST_STEPS])}{more}", text


def _said(one: Cause) -> str:
    return f"behaves as {one.name}: {one.meaning}" if one.variant else one.meaning


def _coefficient(one: Cause) -> str:
    return f"alpha = {one.alpha:.2f}, " if one.variant else ""


def _seen(one: Cause) -> str:
    return f", as in {one.source}" if one.source else ""


def _unknown(diagnosis: Diagnosis) -> str:
    tried = f"none of {count(diagnosis.tried, 'known bug')} of this step" if diagnosis.tried else "no known bug"
    near = _near(diagnosis.nearest)
    return f"not known; {tried}, and no generic cause, explains it{f'; nearest: {near}' if near else ''}"


def _near(causes: Iterable[Cause]) -> str:
    return ", ".join(
        f"{one.name} (alpha = {one.alpha:.2f}, {_percent(one.explained)})" for one in causes if one.explained > 0
    )


def _percent(share: float) -> str:
    """A share, never rounded up to all of it."""
    return "100 %" if share > 1 - 1e-9 else f"{math.floor(1000 * share) / 10:.1f} %"
