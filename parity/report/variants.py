"""What is said of variants: which there are, what one is, and how well the harness finds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from parity.report.console import plain, print_line
from parity.report.numbers import count, ratio
from parity.report.sentences import inputs
from parity.report.table import Table
from parity.variant import Catalogue, Variant
from parity.variants.scoring import Score, Totals

HEAD = ("| variant | verdict | first divergence | steps | named |", "| --- | --- | --- | --: | --- |")


def print_list(variants: Sequence[Variant], out: Console) -> None:
    """A line for each variant."""
    grid = Table("variant", "component", "first step", "needs")
    for variant in variants:
        grid.add(plain(variant.name), plain(variant.component), plain(variant.at().first), plain(inputs(variant)))
    grid.print(out, indent=0)
    same = sum(bool(variant.equivalent) for variant in variants)
    print_line(out, f"{count(len(variants), 'variant')}, {same} of them the same by algebra; parity variants show NAME")


def print_variant(variant: Variant, catalogue: Catalogue, out: Console) -> None:
    """Everything about one variant, with the lines that it changes."""
    print_line(out, (plain(variant.name), "bold"), f": {plain(variant.meaning)}")
    grid = Table("", "", wraps="")
    for name, text in _facts(variant, catalogue):
        grid.add(Text(plain(name), "dim"), plain(text))
    grid.print(out)
    for edit in variant.edits:
        print_line(out, f"in {plain(edit.function)}", indent=2)
        print_line(out, ("-   ", "red"), plain(edit.old), indent=4)
        print_line(out, ("+   ", "green"), plain(edit.new), indent=4)


def print_scores(totals: Totals, out: Console) -> None:
    """A line for each variant, then the totals and what is not as promised."""
    grid = Table("variant", "verdict", "first divergence", "steps", "floors", "named", right=("steps", "floors"))
    for score in totals.scores:
        first = "its own step" if score.at_home else score.first or "-"
        grid.add(
            plain(score.variant.name),
            verdict(score),
            plain(first),
            str(score.steps),
            ratio(score.ratio),
            plain(named(score)),
        )
    grid.print(out, indent=0)
    for line in summary(totals):
        print_line(out, plain(line))
    for line in totals.broken():
        print_line(out, ("not as promised: ", "bold red"), plain(line))


def verdict(score: Score) -> str:
    """What became of a variant, and whether that is right."""
    if score.crash:
        return "not judged"
    if score.variant.equivalent:
        return "FLAGGED, is equivalent" if score.flagged else "passed, is equivalent"
    if not score.flagged:
        return "MISSED" if score.expected else "below this arithmetic"
    return "found below the noise" if score.sigmas else "found"


def named(score: Score) -> str:
    """What the first divergence is said to be, and what it is taken for where it is not known."""
    said = "itself" if score.named == score.variant.name else score.named or "-"
    same = " (looks the same)" if score.right and said != "itself" else ""
    return f"{said}{same}{f'; UNKNOWN: {score.instead}' if score.instead else ''}"


def summary(totals: Totals) -> Iterator[str]:
    """The figures that the harness is held to."""
    bugs = len(totals.bugs)
    found = bugs - len(totals.missed)
    home = found - len(totals.elsewhere)
    yield f"{totals.dtype}: {found} of {count(bugs, 'bug')} found ({_share(found, bugs)})"
    yield f"first divergence at its own step: {home} ({_share(home, bugs)})"
    yield f"at most 3 steps flagged in lockstep: {bugs - len(totals.many)} ({_share(bugs - len(totals.many), bugs)})"
    named = bugs - len(totals.unnamed)
    yield f"cause named, first and as what it is: {named} ({_share(named, bugs)})"
    yield f"another bug named with confidence where it is not in the catalogue: {len(totals.mistaken)}"
    yield f"equivalent variants and reorderings flagged: {len(totals.false)} of {len(totals.harmless)}"
    if totals.missed:
        below = ", ".join(f"{score.variant.name} ({ratio(score.ratio)})" for score in totals.missed)
        yield f"below the noise, with their floors at their own step: {below}"


def as_json(totals: Totals) -> dict[str, Any]:
    """Scores and totals as plain data."""
    return {
        "schema": "parity-variants",
        "version": 1,
        "dtype": totals.dtype,
        "bugs": len(totals.bugs),
        "missed": [score.variant.name for score in totals.missed],
        "elsewhere": [score.variant.name for score in totals.elsewhere],
        "many": [score.variant.name for score in totals.many],
        "false": [score.variant.name for score in totals.false],
        "broken": list(totals.broken()),
        "scores": [_row(score) for score in totals.scores],
    }


def _row(score: Score) -> dict[str, Any]:
    variant = score.variant
    finite = score.ratio if score.ratio < float("inf") else None
    return {
        "variant": variant.name,
        "component": variant.component,
        "scenario": variant.scenario,
        "media": list(variant.media),
        "own_step": variant.first,
        "equivalent": variant.equivalent,
        "flagged": score.flagged,
        "first_divergence": score.first,
        "status": score.status,
        "steps": score.steps,
        "ratio": finite,
        "named": score.named,
        "alike": list(score.alike),
        "instead": score.instead,
        "sigmas": score.sigmas if score.sigmas < float("inf") else None,
        "crash": score.crash,
    }


def markdown(every: Iterable[Totals], command: str, catalogue: Catalogue) -> str:
    """The page of the documentation: a chapter for each arithmetic, a table for each component.

    It names the catalogue that it is of, so that a test can say without a run whether it is stale.
    """
    lines = [
        "# Score of the variants",
        "",
        f"Written by `{command}` of the catalogue `{catalogue.digest}`; do not edit. How to read it:",
        "[variants](variants.md).",
    ]
    for totals in every:
        lines += ["", f"## {totals.dtype}", "", *(f"- {line}" for line in summary(totals))]
        lines += [f"- **not as promised**: {line}" for line in totals.broken()]
        for component in dict.fromkeys(score.variant.component for score in totals.scores):
            lines += ["", f"### {component}", "", *HEAD]
            lines += [_line(score) for score in totals.scores if score.variant.component == component]
    return "\n".join(lines) + "\n"


def _line(score: Score) -> str:
    """A row. No ratio stands in it: that differs from machine to machine, and the page is held against a new one."""
    first = f"`{score.first}`" if score.first else "-"
    cells = (f"`{score.variant.name}`: {score.variant.meaning}", verdict(score), first, str(score.steps), named(score))
    return f"| {' | '.join(cells)} |"


def _facts(variant: Variant, catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    there = variant.at()
    yield "component", variant.component
    yield "first step", there.first
    yield "planted in", there.module or "every place that the line runs in"
    yield "needs", f"{inputs(variant)}, in {', '.join(variant.dtypes) or 'any arithmetic'}"
    if variant.source:
        yield "seen in", variant.source
    if variant.equivalent:
        yield "no bug", variant.equivalent
    place = f":at={variant.place}" if variant.place else ""
    yield "candidate", f"{catalogue.reference}@variant={variant.name}{place}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
