"""The first screen: the verdict in one sentence, the first divergence, coverage, provenance."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from parity.contract import Step
from parity.errors import ExitCode
from parity.judging.judgement import Comparison, Judgement
from parity.judging.verdict import Status, StepVerdict
from parity.report import causes, sentences
from parity.report.numbers import count, floors

_COVERAGE = (
    Status.INTRODUCED, Status.NONFINITE, Status.CONTRACT, Status.INHERITED, Status.COARSE, Status.OK, Status.UNCOVERED,
    Status.UNEXPECTED, Status.HIDDEN,
)  # fmt: skip


@dataclass(frozen=True)
class First:
    """What a reader sees without scrolling.

    Attributes:
        word: parity, diverged, crashed or incomplete.
        headline: the verdict.
        explanation: how far, how much of the model, what of the tokens.
        judgement: the one that the headline is about; None where nothing was compared.
        causes: label and text on why the first step errs.
        bar: share of steps by status in percent: start, width, status, number.
    """

    word: str
    headline: str
    explanation: tuple[str, ...]
    judgement: Judgement | None
    step: StepVerdict | None
    about: Step | None
    causes: tuple[tuple[str, str], ...]
    bar: tuple[tuple[float, float, Status, int], ...]
    provenance: tuple[tuple[str, str], ...]


def first(comparison: Comparison) -> First:
    """Choose what to say first: the first divergence of any candidate, else what keeps it from parity."""
    judgement = _focus(comparison)
    step = judgement.first_divergence if judgement else None
    return First(
        word=sentences.WORD[(judgement or comparison).exit_code],
        headline=_headline(comparison, judgement),
        explanation=tuple(_explanation(comparison, judgement)) if judgement else (),
        judgement=judgement,
        step=step,
        about=comparison.contract.get(step.step) if step else None,
        causes=tuple(_causes(judgement, step)) if judgement and step else (),
        bar=tuple(_bar(judgement)) if judgement else (),
        provenance=tuple(_provenance(comparison)),
    )


def _focus(comparison: Comparison) -> Judgement | None:
    wrong = [one for one in comparison.judgements if one.first_divergence or one.unsteady or one.returned]
    same = [judgement for judgement in comparison.judgements if judgement.exit_code == comparison.exit_code]
    return next(iter(wrong or same), None)


def _headline(comparison: Comparison, judgement: Judgement | None) -> str:
    if judgement is None:
        return "Nothing was compared."
    who = f"{judgement.candidate} in {judgement.dtype}"
    if judgement.unsteady or judgement.first_divergence or judgement.returned:
        return f"{who} {_wrong(judgement)}"
    if judgement.crash:
        return f"{who} crashed"
    if judgement.exit_code is ExitCode.DIVERGED:
        return f"{who} chooses other tokens"
    if judgement.exit_code is ExitCode.INCOMPLETE:
        return f"{who} is not fully compared"
    several = len({(one.candidate, one.dtype) for one in comparison.judgements}) > 1
    return f"{'Every candidate' if several else who} computes what {sentences.reference(comparison)} computes"


def _wrong(judgement: Judgement) -> str:
    if judgement.unsteady:
        return "is not deterministic"
    if judgement.first_divergence is None:
        return "returns other logits than it emits"
    return f"diverges at {judgement.first_divergence.step}"


def _explanation(comparison: Comparison, judgement: Judgement) -> Iterator[str]:
    for said in filter(None, (sentences.unsteady(judgement), sentences.returned(judgement))):
        yield f"{said[0].upper()}{said[1:].removesuffix('; ')}."
    if judgement.crash:
        yield judgement.crash
    elif step := judgement.first_divergence:
        yield _cause(judgement, step)
    else:
        yield sentences.verdict(judgement).partition(" ")[2].capitalize() + "."
    if judgement.first_divergence and (said := sentences.unsearched(judgement)):
        yield said[0].upper() + said[1:] + "."
    if said := sentences.tokens(judgement):
        yield said[0].upper() + said[1:] + "."
    if (worth := sentences.hides_at_most(judgement)) and not judgement.first_divergence:
        yield worth[0].upper() + worth[1:] + "."
    if (all_of_them := len(comparison.judgements)) > 1:
        good = sum(one.exit_code is ExitCode.PARITY for one in comparison.judgements)
        yield f"{good} of {all_of_them} comparisons are at parity."


def _cause(judgement: Judgement, step: StepVerdict) -> str:
    """How far off the first step is, and what became of the rest."""
    passed = judgement.counts[Status.INHERITED]
    own = len(judgement.introduced)
    if step.status is Status.INTRODUCED:
        deviation = step.lockstep or step.free
        far = floors(deviation.ratio) if deviation else "far"
        begin = f"Given exact inputs, this step is off by {far}, where {judgement.allowed:g} are allowed."
    elif step.status.origin:
        begin = f"{step.status.capitalize()}: {step.note}."
    elif judgement.free_alone:
        begin = f"{floors(step.ratio).capitalize()} here; {sentences.no_origin(judgement)}."
    else:
        begin = "No step errs given exact inputs: many small errors add up."
    alone = "It is the only step with a fault of its own" if own == 1 else f"{count(own, 'step')} have their own fault"
    rest = f"; {count(passed, 'step')} behind it pass the error on" if passed else ""
    return f"{begin} {alone}{rest}." if own else f"{begin} {passed:,} steps are beyond what is allowed."


def _causes(judgement: Judgement, step: StepVerdict) -> Iterator[tuple[str, str]]:
    if diagnosis := judgement.diagnosis(step.step):
        yield from causes.lines(diagnosis)
    yield from causes.later(judgement, step)
    yield from causes.further(judgement, step)


def _bar(judgement: Judgement) -> Iterator[tuple[float, float, Status, int]]:
    """A status that any step has is at least wide enough to be seen."""
    counts = [(status, judgement.counts[status]) for status in _COVERAGE if judgement.counts[status]]
    widths = [max(0.8, 100 * number / len(judgement.steps)) for _, number in counts]
    start = 0.0
    for (status, number), width in zip(counts, widths, strict=True):
        share = 100 * width / sum(widths)
        yield round(start, 2), round(share, 2), status, number
        start += share


def _provenance(comparison: Comparison) -> Iterator[tuple[str, str]]:
    oracle = comparison.oracle
    yield "reference", f"{_versions(oracle.versions)}; the oracle runs in {oracle.dtype}"
    candidates = {judgement.candidate: judgement for judgement in comparison.judgements}
    for name, judgement in candidates.items():
        dtypes = dict.fromkeys(one.dtype for one in comparison.judgements if one.candidate == name)
        yield "candidate", f"{name} in {', '.join(dtypes)}: {_versions(dict(judgement.versions))}"
    yield "model", f"{oracle.model}, weights {oracle.weights[: sentences.SHORT_DIGEST]}"
    if comparison.prompt:
        yield "prompt", f"“{comparison.prompt}”"
    if meaning := sentences.floor_meaning(comparison):
        yield "floor", meaning
    if number := sentences.values(comparison):
        yield "values", number
    if oracle.machine:
        yield "machine", ", ".join(f"{name} {value}" for name, value in oracle.machine.items())
    if oracle.command:
        yield "command", shlex.join(["parity", *oracle.command])


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{library} {version}" for library, version in versions.items()) or "versions unknown"
