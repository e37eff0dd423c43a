"""An audit as a page of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from parity.audit.outcome import Component, Outcome
from parity.audit.result import Audit, Audits
from parity.fault import ALL, Kind, Needed
from parity.judging.judge import ALLOWED
from parity.report.audit import effort, failed, far, size, tokens, unexplained
from parity.report.audit_faults import section, summary
from parity.report.markdown import code
from parity.report.numbers import count, ratio
from parity.report.sentences import WORD, inputs

TITLE = "# Other people's implementations"
ITEM, CHAPTER = "- **", "## "
"""What a package's line in the list of faults begins with, and its chapter."""
INTRODUCTION = """\
What the installed packages compute, held against the reference. They run as installed: `parity.weave` puts taps behind
named places of their source while a run is recorded, and takes them out again. Nothing is copied, and no file changes.

{written}

Figures are of the checkpoint `{model}` and the prompt "{prompt}". A floor is the reference's own error at that step in
the same dtype, and {allowed:g} are allowed; a step counts once, in however many phases it is.

A known fault is proven by an edit of the source in memory that mends it. The last column of the first tables has all
of them mended and must be at parity; the figures of a fault are of runs with all others mended, in which its own steps
must be introduced and no other; one of rounding alone may stay within the floors, or be coarse. Where that does not
hold, it is listed as unexplained. `NAME@patch=FAULT` mends one fault, with `+` between the names several, `@patch=all`
every one, and `@patch=all-FAULT` all but that."""


def markdown(audits: Audits, command: str, before: str = "") -> str:
    """The page: a chapter for each package.

    Args:
        audits: what was found.
        command: that found it.
        before: the page as it was; what it says of other packages stays, and then each new chapter has its command.
    """
    chapters, items = _by_package(before, CHAPTER), _by_package(before.split("\n\n")[1], ITEM) if before else {}
    kept = chapters.keys() - {audit.package for audit in audits.audits}
    written = [_written(audits, command), ""] if kept else []
    items |= {audit.package: "\n".join([*_short(audit), ""]) for audit in audits.audits}
    chapters |= {audit.package: "\n".join([*_chapter(audit, audits, written), ""]) for audit in audits.audits}
    introduction = _opening(before) if kept else _introduction(audits, command)
    head = "".join(part.rstrip("\n") + "\n" for name, part in items.items() if name in chapters)
    return "\n".join([TITLE, "", head, introduction, "", *(part.strip("\n") + "\n" for part in chapters.values())])


def _by_package(page: str, begin: str) -> dict[str, str]:
    """What begins so on a page, by the package that follows, up to the next."""
    parts = re.split(f"^(?={re.escape(begin)})", page, flags=re.MULTILINE)[1:]
    return {part[len(begin) :].split()[0]: part for part in parts}


def _opening(page: str) -> str:
    """What stands between the list of faults and the first chapter."""
    return page.partition("\n\n")[2].partition("\n\n")[2].partition(f"\n{CHAPTER}")[0].strip()


def _chapter(audit: Audit, audits: Audits, written: list[str]) -> Iterator[str]:
    yield from (f"{CHAPTER}{audit.name}", "", *written, audit.subject.about.strip(), *_known(audit))
    for dtype in dict.fromkeys(outcome.dtype for outcome in audit.outcomes):
        yield from ("", f"### {dtype}", "", *_scenarios(audit, dtype), *_components(audit, dtype))
    yield from ("", "### What is wrong", "", *summary(audit))
    for fault in audit.subject.faults:
        yield from ("", f"#### `{fault.name}`", "", *section(audit, fault, audits))


def _short(audit: Audit) -> Iterator[str]:
    """What is wrong in a package, and for whom: a line for each fault that is more than a rounding."""
    faults = [fault for fault in audit.subject.faults if fault.kind is not Kind.NUMERICS]
    fine = count(len(audit.subject.faults) - len(faults), "more fault")
    yield f"{ITEM}{audit.name}**; {fine} of rounding alone"
    for fault in sorted(faults, key=lambda fault: list(Kind).index(fault.kind)):
        yield f"  - {fault.kind}, `{fault.name}`: {_sentence(fault.wrong)} Reached by: {_sentence(fault.reached)}"


def _sentence(text: str) -> str:
    """The first one."""
    return f"{text.partition('. ')[0].removesuffix('.')}."


def _introduction(audits: Audits, command: str) -> str:
    given = {"written": _written(audits, command), "model": audits.model, "prompt": audits.prompt}
    return INTRODUCTION.format(allowed=ALLOWED, **given)


def _written(audits: Audits, command: str) -> str:
    return f"Written by `{command}`; do not edit.\n{effort(audits)}."


def _known(audit: Audit) -> Iterator[str]:
    """How many faults there are, what must be mended before all else, and what is not explained."""
    yield from ("", f"Faults known: {len(audit.subject.faults)}, declared as `{audit.subject.digest}`.")
    yield from _needed(audit, Needed.LOAD, "the checkpoint is not loaded: as installed means with that mended.")
    yield from _needed(audit, Needed.COMPARE, "tokens cannot be compared: media have a second row with that mended.")
    left = list(unexplained(audit))
    yield from ("", "Left unexplained:" if left else "Nothing is left unexplained.", *(f"- {line}" for line in left))


def _needed(audit: Audit, purpose: Needed, why: str) -> Iterator[str]:
    names = audit.subject.needed(purpose).replace("+", "`, `")
    if names:
        yield from ("", f"Without `{names}` mended {why}")


def _scenarios(audit: Audit, dtype: str) -> Iterator[str]:
    """A row for each kind of inputs and what is mended for it."""
    yield "| inputs | as installed | introduced | greedy tokens | steps compared | all mended |"
    yield "| --- | --- | --: | --: | --: | --- |"
    rows = [each for each in audit.outcomes if each.dtype == dtype and not each.trial.fault]
    for outcome in rows:
        if outcome.trial.mended != ALL:
            mended = audit.find(outcome.trial.inputs, dtype, ALL)
            yield f"| {_label(audit, outcome)} | {' | '.join(_cells(outcome))} | {size(mended) if mended else '-'} |"


def _label(audit: Audit, outcome: Outcome) -> str:
    compare = audit.subject.needed(Needed.LOAD, Needed.COMPARE)
    same = outcome.trial.inputs.media and outcome.trial.mended == compare != audit.subject.needed(Needed.LOAD)
    return "the same, tokens mended" if same else inputs(outcome.trial.inputs)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    if outcome.message:
        return (f"{failed(outcome)}: {code(outcome.message)}", "-", "-", "-")
    beside = f", {outcome.unexpected} unexpected" if outcome.unexpected else ""
    held = sum(part.compared for part in outcome.parts)
    steps = f"{held:,} of {held + outcome.hidden + outcome.uncovered:,}"
    return (_verdict(outcome), f"{len(outcome.introduced):,}{beside}", tokens(outcome.effect), steps)


def _verdict(outcome: Outcome) -> str:
    if not outcome.first:
        return size(outcome)
    first = outcome.first
    return f"**{WORD[outcome.verdict]}** at {code(first.step)} in {first.phase}, {far(first)}"


def _components(audit: Audit, dtype: str) -> Iterator[str]:
    """Of inputs with media, how each component of the model fares where its tokens can be compared."""
    mended = audit.subject.needed(Needed.LOAD, Needed.COMPARE)
    media = [given for given in audit.subject.media if not given.refused]
    found = [each for given in media if (each := audit.find(given, dtype, mended)) and each.parts]
    names = tuple(dict.fromkeys(part.name for outcome in found for part in outcome.parts))
    if not found:
        return
    yield from (
        "",
        "By component: introduced of compared, and the worst of these (of all where none is) in floors → all mended.",
        "",
    )
    yield from (f"| inputs | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}")
    for outcome in found:
        whole = audit.find(outcome.trial.inputs, dtype, ALL)
        cells = [_part(name, outcome, whole) for name in names]
        yield f"| {inputs(outcome.trial.inputs)} | {' | '.join(cells)} |"


def _part(name: str, outcome: Outcome, mended: Outcome | None) -> str:
    before, behind = (_named(each.parts if each else (), name) for each in (outcome, mended))
    if before is None:
        return "-"
    after = ratio(behind.worst) if behind else "-"
    return f"{before.introduced} of {before.compared:,}, {ratio(before.worst)} → {after}"


def _named(parts: Iterable[Component], name: str) -> Component | None:
    return next((part for part in parts if part.name == name), None)
