"""What an audit's page says of each fault: where it is, what it does alone, how it is shown, and what proves it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from parity.audit.outcome import Outcome
from parity.audit.result import Audit, Audits
from parity.checkpoint import DEFAULT
from parity.fault import ALL, Fault, Inputs
from parity.placing import EVERYWHERE
from parity.report import causes
from parity.report.audit import failed, far, logits, size, tokens
from parity.report.fold import fold
from parity.report.markdown import code
from parity.report.numbers import count, floors, ratio
from parity.report.sentences import inputs

FAMILIES = 3
"""Families of steps that a line names."""


def summary(audit: Audit) -> Iterator[str]:
    """A row for each fault, in the first arithmetic."""
    yield "| fault | kind | shown by | steps | floors | logits | greedy tokens |"
    yield "| --- | --- | --- | --: | --: | --: | --: |"
    for fault in audit.subject.faults:
        alone = audit.alone(fault)
        given = inputs(fault.inputs) if fault.inputs else f"`{fault.proof}`"
        yield f"| `{fault.name}` | {fault.kind} | {given} | {' | '.join(_figures(alone[0] if alone else None))} |"


def _figures(outcome: Outcome | None) -> tuple[str, ...]:
    if outcome is None or outcome.message:
        return (failed(outcome) if outcome else "-", "-", "-", "-")
    far_off = (str(len(outcome.wrong)), ratio(outcome.worst)) if outcome.introduced else ("inherited", "-")
    return (*far_off, logits(outcome.effect), tokens(outcome.effect))


def section(audit: Audit, fault: Fault, audits: Audits) -> Iterator[str]:
    """All that is declared and was measured of one fault."""
    yield from (fault.wrong, "", f"- kind: {fault.kind}")
    if where := places(audit.places[fault.name]):
        yield f"- where: {where}"
    yield f"- reached by: {fault.reached}"
    if fault.needed:
        yield f"- needed {fault.needed}"
    alone = audit.alone(fault)
    if fault.inputs is None or not alone:
        yield f"- proven by `{fault.proof}`: no scenario shows it alone" if fault.proof else "- not measured here"
        return
    yield from (f"- alone in {inputs(fault.inputs)}: {_alone(audit, each)}" for each in alone)
    yield from _causes(alone[0])
    if fault.proof:
        yield f"- proven by `{fault.proof}` too"
    yield from ("", "```console", f"$ {reproducer(alone[0], audits)}", "```")


def _alone(audit: Audit, outcome: Outcome) -> str:
    """What a fault does in one arithmetic, all others mended, and that mending it too takes it away."""
    mended = audit.find(outcome.trial.inputs, outcome.dtype, ALL)
    proof = f"; mended too: {size(mended)}{_effect(mended)}" if mended else ""
    if outcome.message:
        return f"{outcome.dtype}, {failed(outcome)}: {code(outcome.message)}{proof}"
    if not outcome.wrong:
        return f"{outcome.dtype}, {size(outcome)}: it does not show"
    return f"{outcome.dtype}, {_steps(outcome)}{_effect(outcome)}{proof}"


def _steps(outcome: Outcome) -> str:
    """Where it is introduced, and how far off that is; or where the free run first inherits it."""
    steps = fold(outcome.wrong)
    more = f" and {len(steps) - FAMILIES} families more" if len(steps) > FAMILIES else ""
    named = ", ".join(code(step) for step in steps[:FAMILIES])
    if not outcome.introduced:
        return f"none introduced, in the free run first at {named}"
    most = floors(outcome.worst) if outcome.worst == outcome.worst else far(outcome.first) if outcome.first else ""
    return f"{count(len(outcome.wrong), 'step')} introduced, {named}{more}, {most}"


def _effect(outcome: Outcome) -> str:
    """What the end of the free run is off by; in a coarse arithmetic that of correct arithmetic is off, too."""
    return f", logits {logits(outcome.effect)}, greedy tokens {tokens(outcome.effect)}" if outcome.effect else ""


def _causes(outcome: Outcome) -> Iterator[str]:
    """What the harness calls it by itself, each cause once; or where the error is."""
    if outcome.message or not outcome.introduced:
        return
    named: dict[tuple[str, ...], str] = {}
    for said in outcome.diagnoses:
        if said.causes:
            named.setdefault(tuple(cause.name for cause in said.causes), causes.cause(said))
    where = next((f"; the error is {said.where}" for said in outcome.diagnoses if said.where), "")
    yield f"- diagnosis: {'; '.join(named.values()) or f'no known cause{where}'}"


def places(where: Iterable[str]) -> str:
    """Places by file, e.g. ``a.py:3, 7``."""
    lines: dict[str, list[int]] = {}
    for place in where:
        file, _, line = place.rpartition(":")
        lines.setdefault(file, []).append(int(line))
    return "; ".join(code(f"{file}:{', '.join(map(str, sorted(found)))}") for file, found in lines.items())


def reproducer(outcome: Outcome, audits: Audits) -> str:
    """The command that shows what the outcome says."""
    trial = outcome.trial
    words = ["parity", "compare", "--candidates", trial.candidate, "--scenario", trial.inputs.scenario]
    if trial.alike:
        words += ["--reference", f"{audits.reference}@variant={'+'.join(trial.alike)}:at={EVERYWHERE}"]
    words += ["--dtype", outcome.dtype] if outcome.dtype != "float32" else []
    words += ["--model", audits.model] if audits.model != DEFAULT else []
    return shlex.join([*words, "--prompt", audits.prompt, *_media(outcome.trial.inputs, audits.samples)])


def _media(given: Inputs, folder: str) -> Iterator[str]:
    for name in given.media:
        yield from ("--audio" if name.endswith(".wav") else "--image", f"{folder}/{name}")
