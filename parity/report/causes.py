"""What a report says of a diagnosis: the cause, or the nearest; where the error is; what that rests on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from parity.judging.cause import Cause, Diagnosis
from parity.judging.judgement import Judgement
from parity.judging.verdict import StepVerdict
from parity.report.numbers import count
from parity.traces.scale import family

MOST_STEPS = 3
"""Steps that a line names."""
SURE = 100
UNKNOWN = "no cause found"


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
        return f"{values}, below the noise of each: {_sigmas(diagnosis.sigmas)} over {count(diagnosis.rows, 'row')}"
    faint = f"; {_percent(diagnosis.noise)} of the error's energy is noise" if diagnosis.noise >= 0.001 else ""
    return f"{values}{faint}{f'; the error is {diagnosis.where}' if diagnosis.where else ''}"


def lines(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    """Label and text, two or three lines."""
    yield "cause", cause(diagnosis)
    if alike := [name for one in diagnosis.causes for name in one.alike]:
        yield "or", f"{', '.join(alike)}, which would look the same"
    yield "seen in", evidence(diagnosis)


def later(judgement: Judgement, first: StepVerdict) -> Iterator[tuple[str, str]]:
    """Where the first divergence has no cause: the first step behind it that has one."""
    own = judgement.diagnosis(first.step)
    if own is not None and own.causes:
        return
    named = {step: said for said in judgement.diagnoses if said.causes for step in said.steps}
    found = next((step.step for step in judgement.introduced if step.step in named), None)
    if found is not None:
        yield "but", f"{found}, further on, has a cause: {cause(named[found])}"


def further(judgement: Judgement, first: StepVerdict | None) -> Iterator[tuple[str, str]]:
    """Each introduced step besides the first divergence, and its cause, or that it has none; what is alike together."""
    found: dict[str, list[str]] = {}
    for diagnosis in judgement.diagnoses:
        if first is None or first.step not in diagnosis.steps:
            found.setdefault(cause(diagnosis), []).extend(diagnosis.steps)
    looked = {step for diagnosis in judgement.diagnoses for step in diagnosis.steps}
    kinds = {family(step) for step in looked}
    rest = [step for step in dict.fromkeys(step.step for step in judgement.introduced) if step not in looked]
    alike, other = ([step for step in rest if (family(step) in kinds) == known] for known in (True, False))
    for text, steps in sorted(found.items(), key=lambda item: item[0].startswith(UNKNOWN)):
        yield _steps(steps), text
    if alike and judgement.diagnoses:
        yield _steps(alike), "of the same kind as those above; not looked into one by one"
    if other and judgement.diagnoses:
        yield _steps(other), "not looked into"


def _steps(steps: Sequence[str]) -> str:
    more = f" and {len(steps) - MOST_STEPS:,} more" if len(steps) > MOST_STEPS else ""
    return f"{', '.join(steps[:MOST_STEPS])}{more}"


def _sigmas(number: float) -> str:
    """Beyond a hundred, how many they are says nothing more."""
    return f"{number:.0f} standard deviations" if number <= SURE else f"more than {SURE} standard deviations"


def _said(one: Cause) -> str:
    return f"behaves as {one.name}: {one.meaning}" if one.variant else one.meaning


def _coefficient(one: Cause) -> str:
    return f"alpha = {one.alpha:.2f}, " if one.variant else ""


def _seen(one: Cause) -> str:
    return f", as in {one.source}" if one.source else ""


def _unknown(diagnosis: Diagnosis) -> str:
    near = _near(diagnosis.nearest)
    told = f"nearest: {near}" if near else "nothing is near"
    tried = f"{count(diagnosis.tried, 'known bug')} of this step" if diagnosis.tried else "no known bug"
    return f"{UNKNOWN} ({told}; tried: {tried}, and the generic causes)"


def _near(causes: Iterable[Cause]) -> str:
    return ", ".join(
        f"{one.name} (alpha = {one.alpha:.2f}, {_percent(one.explained)})" for one in causes if one.explained > 0
    )


def _percent(share: float) -> str:
    """A share, never rounded up to all of it."""
    return "100 %" if share > 1 - 1e-9 else f"{math.floor(1000 * share) / 10:.1f} %"
