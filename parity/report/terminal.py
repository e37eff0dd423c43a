"""The report of a comparison, for people. It reads alike at 80 columns, at 160, and in a pipe."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from parity.errors import ExitCode
from parity.judging.judgement import Comparison, Judgement
from parity.report import sentences
from parity.report.console import plain, print_line, short
from parity.report.depth import depth
from parity.report.numbers import ratio
from parity.report.sections import divergence, gaps, introduced, worst
from parity.report.table import Table

COLOUR = {
    ExitCode.PARITY: "bold green",
    ExitCode.DIVERGED: "bold red",
    ExitCode.UNAVAILABLE: "bold red",
    ExitCode.INCOMPLETE: "bold yellow",
}


def print_comparison(comparison: Comparison, out: Console) -> None:
    """Print the whole report: verdicts first, then the cause, then who was compared."""
    several = len(comparison.judgements) > 1
    if several:
        _overview(comparison.judgements, out)
    told: dict[tuple[str, str], str] = {}
    for judgement in comparison.judgements:
        _judgement(comparison, judgement, out, told, brief=several)
    if not comparison.judgements:
        print_line(out, ("incomplete", COLOUR[ExitCode.INCOMPLETE]), ": nothing was compared")
        out.print()
    _provenance(comparison, out)


def _overview(judgements: Iterable[Judgement], out: Console) -> None:
    grid = Table("candidate", "dtype", "scenario", "verdict", "steps", "worst", "tokens", right=("worst",))
    for judgement in judgements:
        names = (plain(judgement.candidate), plain(judgement.dtype), plain(judgement.scenario))
        code = judgement.exit_code
        same = sum(token.same for token in judgement.tokens)
        tokens = f"{same:,} of {len(judgement.tokens):,}" if judgement.tokens else "-"
        most = ratio(judgement.worst.ratio) if judgement.worst else "-"
        steps = sentences.covered(judgement) if judgement.steps else "-"
        grid.add(*names, Text(sentences.WORD[code], COLOUR[code]), steps, most, tokens)
    grid.print(out, indent=0)
    out.print()


def _judgement(
    comparison: Comparison, judgement: Judgement, out: Console, told: dict[tuple[str, str], str], *, brief: bool
) -> None:
    """One judgement. Among several, parity takes a sentence, and a divergence that was told already a reference."""
    code, first, title = judgement.exit_code, judgement.first_divergence, sentences.title(judgement)
    word, reason = sentences.WORD[code], sentences.verdict(judgement)
    print_line(out, (title, "bold"), ": ", (word, COLOUR[code]), reason.removeprefix(word))
    if judgement.tokens and not (brief and all(token.same for token in judgement.tokens)):
        print_line(out, sentences.tokens(judgement), indent=2)
    if first is not None:
        told_in = told.setdefault((judgement.candidate, first.step), title)
        if told_in != title:
            print_line(out, f"the same first divergence as in {told_in}", indent=2)
        else:
            depth(judgement, out)
            divergence(comparison, judgement, first, out)
            introduced(judgement, out)
    gaps(judgement, out)
    if not brief:
        if first is None:
            depth(judgement, out)
        worst(judgement, out)
    out.print()


def _provenance(comparison: Comparison, out: Console) -> None:
    oracle = comparison.oracle
    grid = Table("", "", wraps="")
    if meaning := sentences.floor_meaning(comparison):
        grid.add("floor", meaning)
    if number := sentences.values(comparison):
        grid.add("values", number)
    grid.add("reference", f"{_versions(oracle.versions.items())}; the oracle runs in {plain(oracle.dtype)}")
    seen = {judgement.candidate: judgement.versions for judgement in comparison.judgements if judgement.versions}
    for candidate, versions in seen.items():
        grid.add("candidate", f"{plain(candidate)}: {_versions(versions)}")
    grid.add("model", f"{plain(oracle.model)}, weights {plain(oracle.weights)[: sentences.SHORT_DIGEST]}")
    if comparison.prompt:
        grid.add("prompt", short(comparison.prompt))
    grid.print(out, indent=0)


def _versions(versions: Iterable[tuple[str, str]]) -> str:
    return ", ".join(plain(f"{library} {version}") for library, version in versions) or "versions unknown"
