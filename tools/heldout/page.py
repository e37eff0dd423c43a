"""Held-out faults as a page of the documentation."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from parity.errors import ExitCode
from parity.report.markdown import code, text
from parity.report.numbers import count, ratio
from tools.heldout import results as words
from tools.heldout.results import HeldoutFault, HeldoutModel, HeldoutResults, Placed
from tools.heldout.rules import MAKING, RULES

INTRODUCTION = """\
# Held-out faults

Written by `{command}`; do not edit.

Of {versions}.

Do [learned tables](any-model.md) find faults that nobody had in mind? {kinds} rules (`tools/heldout/rules.py`) make one
expression of mlx-lm's source wrong, as people do. They were fixed before any fault was judged, but for
one: products of lists are passed over since three faults of the first architecture had been. Each rule says all places
where it applies; a seed draws {faults} of each architecture, a rule after the other. None is left out because it was
missed.

No threshold was changed since. But misses were looked into, in {looked},
and mended what learns a table of a faulty port: rows of one layer keep that layer's order; what is inside of a function
all of whose results are right is no guess; a value that the port shows right and then changes is taken for what it is
where it is wrong. What *in the interval* and *missing* mean was settled then too. So the figures of these architectures
are of faults that were known, those of the others are not.

- **Where a fault is** is known of the port alone: with the line and without it, values flow on, and the first step
  whose value is another (by more than 2^-20) is the fault's.
  {behind}
- **No fault**: a change that crashes the port, or leaves the logits as they are to within 1e-5. The next one is drawn.
- **By a clean table**: the table was learned of the port as it is.
- **By its own**: the table was learned of the faulty port, as if there were no right code anywhere.
- *at its step*: the first divergence is the fault's step. *In the interval*: it is behind the last step that is right,
  and not behind the first that is wrong, in the run of the reference or of the port. *Missing*: the verdict says that
  the port does not show the fault's step any more. *Late*, *early*, *nothing*: a miss.

All are judged in float32 with a prompt longer than the window, and two decode steps behind it (`{scenario}`).

{totals}

| architecture | has | rows | places | faults | {heads} | no fault | clean runs | s |
| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |
"""
LOOKED_INTO = ("qwen3", "qwen3_moe", "lfm2")
"""Architectures whose misses led to changes of the engine."""
WHERE = {words.INTERVAL: "in the interval", words.MISSING: "its step is named missing"}
HEADS = ("clean table: at its step", "own: at its step", "own: at it or named")
"""Of the columns with the figures of an architecture; *places* are those where rules apply."""


def markdown(results: HeldoutResults, models: Sequence[str], command: str) -> str:
    """The page.

    Args:
        results: what was found until now.
        models: all architectures of the list.
        command: that wrote it.
    """
    found = results.found
    head = INTRODUCTION.format(
        command=command,
        versions=", ".join(f"{name} {number}" for name, number in results.head.versions.items()),
        kinds=len(RULES) + len(MAKING),
        faults=results.head.faults,
        behind=_behind(faults_of(found)),
        scenario=results.head.scenario,
        heads=" | ".join(HEADS),
        looked=" and ".join(map(code, LOOKED_INTO)),
        totals="\n".join(f"- {line}" for line in totals(results)),
    )
    left = [model for model in models if model not in results.by_model]
    lines = [*map(_row, found), "", *(_left(left) if left else ()), *_misses(found), *_rules(found), *_all(found)]
    return head + "\n".join(lines).rstrip("\n") + "\n"


def totals(results: HeldoutResults) -> Iterator[str]:
    """The figures of all architectures together."""
    found = results.found
    faults, runs = faults_of(found), [run for one in found for run in one.clean]
    yield f"{count(len(faults), 'fault')} in {count(len([one for one in found if one.faults]), 'architecture')}"
    clean, own = [fault.by_clean for fault in faults], [fault.by_own for fault in faults if fault.by_own]
    for name, said in (("a clean table", clean), ("a table learned of the faulty port", own)):
        named = f"{_share(said, *words.NAMED)} at it, in the interval, or named missing"
        yield f"by {name}: {_share(said, words.STEP)} at its step, {named}"
    wrong = sum(run.exit_code != ExitCode.PARITY for run in runs)
    yield f"the port as it is: {wrong} of {count(len(runs), 'run')} called wrong or incomplete"
    why = Counter(other.why for one in found for other in one.redrawn)
    yield "drawn and no fault: " + (
        ", ".join(f"{number} that {reason}" for reason, number in sorted(why.items())) or "0"
    )


def faults_of(found: Iterable[HeldoutModel]) -> list[HeldoutFault]:
    """All of them, in the order of the page."""
    return [fault for one in found for fault in one.faults]


def _share(found: Sequence[Placed], *wanted: str) -> str:
    number = sum(one.where in wanted for one in found)
    return f"{number} of {len(found)} ({number / max(1, len(found)):.0%})"


def _behind(faults: Sequence[HeldoutFault]) -> str:
    same = [fault for fault in faults if fault.behind is not None]
    good = sum(bool(fault.behind) for fault in same)
    return (
        f"Of {count(len(same), 'fault')} that show in the function which was edited, {good} have their step's place\n"
        "  at the edited line or behind it; the others show first in another function."
    )


def _row(one: HeldoutModel) -> str:
    clean, own = [fault.by_clean for fault in one.faults], [fault.by_own for fault in one.faults if fault.by_own]
    good = sum(run.exit_code == ExitCode.PARITY for run in one.clean)
    shares = [
        sum(found.where == words.STEP for found in clean),
        sum(found.where == words.STEP for found in own),
        sum(found.where in words.NAMED for found in own),
    ]
    cells = (code(one.model), one.kind, one.rows, one.places, len(one.faults), *shares, len(one.redrawn))
    last = f"{good} of {len(one.clean)} at parity" if not one.failure else f"not judged: {text(one.failure)}"
    return f"| {' | '.join(map(str, cells))} | {last} | {one.seconds:.0f} |"


def _left(left: Sequence[str]) -> Iterator[str]:
    yield from (f"Not run yet: {', '.join(map(code, left))}.", "")


def _misses(found: Iterable[HeldoutModel]) -> Iterator[str]:
    """Faults that a verdict does not place at their step."""
    yield from ("## Not at their step", "")
    lines = [line for one in found for number, fault in enumerate(one.faults, 1) for line in _miss(one, number, fault)]
    yield from (*(lines or ["None."]), "")


def _miss(one: HeldoutModel, number: int, fault: HeldoutFault) -> Iterator[str]:
    for name, said in (("clean table", fault.by_clean), ("own", fault.by_own)):
        if said is not None and said.where != words.STEP:
            yield f"- {code(one.model)} {number}, {name}: {_said(said)}. Its step: {code(fault.step)} ({fault.phase})."


def _said(said: Placed) -> str:
    where = f"**{WHERE.get(said.where, said.where)}**"
    if not said.step:
        return f"{where}, {code(said.why)}" if said.why else where
    behind = f"behind {code(said.before)}" if said.before else "the first step"
    return f"{where}, first at {code(said.step)} ({said.phase}), {ratio(said.ratio)} floors, {behind}"


def _rules(found: Sequence[HeldoutModel]) -> Iterator[str]:
    """How often each was drawn, and what became of it."""
    yield from ("## The rules", "", "| rule | what is wrong | faults | clean table: at its step | own: at its step |")
    yield "| --- | --- | --: | --: | --: |"
    for name, rule in {**RULES, **MAKING}.items():
        mine = [fault for fault in faults_of(found) if fault.rule == name]
        clean = sum(fault.by_clean.where == words.STEP for fault in mine)
        own = sum(fault.by_own is not None and fault.by_own.where == words.STEP for fault in mine)
        yield f"| {name} | {inspect.getdoc(rule)} | {len(mine)} | {clean} | {own} |"
    yield ""


def _all(found: Iterable[HeldoutModel]) -> Iterator[str]:
    """Each fault with its line."""
    yield from ("## All of them", "")
    for one in found:
        if one.faults:
            yield from (f"### {one.model}", "")
        for number, fault in enumerate(one.faults, 1):
            yield from _fault(number, fault)


def _fault(number: int, fault: HeldoutFault) -> Iterator[str]:
    own = _short(fault.by_own) if fault.by_own else "not run"
    yield f"{number}. *{fault.rule}* in {code(fault.function)}, line {fault.line}. Its step is {code(fault.step)}"
    yield f"   ({fault.phase}), another by {fault.change:.1g}; the logits by {fault.logits:.1g}. Clean table:"
    yield f"   {_short(fault.by_clean)}; own: {own}."
    yield from ("", "   ```diff", f"   - {fault.old}", f"   + {fault.new}", "   ```", "")


def _short(said: Placed) -> str:
    """At its step, with how far off; or where else."""
    if said.where != words.STEP:
        return f"**{WHERE.get(said.where, said.where)}**"
    bridged = f", {said.bridged} of {said.rows} rows bridged" if said.bridged else ""
    return f"at its step, {ratio(said.ratio)} floors{bridged}"
