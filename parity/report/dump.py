"""What a dump of another tool says of an oracle's steps, for people and as JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import inf
from pathlib import Path

from rich.console import Console
from rich.text import Text

from parity.dumps.matching import Match, Matched
from parity.errors import ExitCode
from parity.judging.judge import ALLOWED
from parity.report.console import plain, print_line
from parity.report.fold import fold, split
from parity.report.numbers import count, error, floors, ratio
from parity.report.sentences import WORD
from parity.report.table import Table

SHOWN = 8
"""Tensors of nobody's that are named: the first tell what kind they are."""
COLOUR = {ExitCode.PARITY: "bold green", ExitCode.DIVERGED: "bold red", ExitCode.INCOMPLETE: "bold yellow"}


def exit_code_of(matched: Matched) -> ExitCode:
    """Diverged where a tensor differs; incomplete where a step is not shown."""
    if matched.first:
        return ExitCode.DIVERGED
    return ExitCode.PARITY if len(matched.matches) == matched.steps else ExitCode.INCOMPLETE


def dump_json(matched: Matched) -> str:
    """All pairs, and what has none; an error without bound is null."""
    matches = [
        {name: None if value == inf else value for name, value in asdict(one).items()} for one in matched.matches
    ]
    known = {"exit_code": exit_code_of(matched), **asdict(matched), "matches": matches}
    known["first"] = next(
        (one for one, told in zip(matches, matched.matches, strict=True) if told is matched.first), None
    )
    return json.dumps(known, indent=1, allow_nan=False) + "\n"


def print_matched(matched: Matched, dump: Path, out: Console) -> None:
    """Print the verdict, the first step that differs, and every step in the order of execution."""
    code, equal = exit_code_of(matched), sum(one.is_equal for one in matched.matches)
    differ = len(matched.matches) - equal
    word = WORD[code]
    told = f"of {count(matched.steps, 'step')} {equal:,} equal, {differ:,} different, "
    print_line(out, f"{plain(dump)}: ", (word, COLOUR[code]), _where(matched.first))
    print_line(out, f"{told}{matched.steps - len(matched.matches):,} not shown", indent=2)
    out.print()
    if matched.first:
        _print_first(matched, out)
    _print_steps(matched.matches, out)
    _print_rest(matched, out)


def _where(first: Match | None) -> str:
    return f": first at {plain(first.step)} ({first.phase}): {floors(first.floors)}" if first else ""


def _print_first(matched: Matched, out: Console) -> None:
    first, last = matched.first, matched.last_equal
    assert first is not None  # or nobody asks
    print_line(out, "First that differs")
    print_line(out, f"{plain(first.step)} ({first.phase})", indent=2)
    print_line(out, f"tensor  {plain(first.tensor)}, known {first.known}", indent=2)
    print_line(out, f"layout  {first.layout}", indent=2)
    print_line(out, f"error   {error(first.error)}, {floors(first.floors)}", indent=2)
    print_line(out, f"before  {f'{plain(last.step)} is equal' if last else 'nothing is equal'}", indent=2)
    out.print()


def _print_steps(matches: Sequence[Match], out: Console) -> None:
    """A line for the same step of all layers, where all are known alike and equal, or all are not."""
    groups: dict[tuple[object, ...], list[Match]] = defaultdict(list)
    for one in matches:
        before, _, after = split(one.step)
        groups[one.phase, before, after, one.layout, one.known, one.is_equal].append(one)
    table = Table("step", "phase", "tensor", "error", "floors", "layout", "", right=("error", "floors"))
    for group in groups.values():
        worst = max(group, key=lambda one: one.floors)
        verdict = Text("", "") if worst.is_equal else Text("differs", "bold red")
        if worst.known != "content":
            verdict.append(f" {worst.known}".lstrip() if worst.is_equal else f", {worst.known}")
        step, tensor = (", ".join(fold(map(plain, names))) for names in _names(group))
        table.add(step, worst.phase, tensor, error(worst.error), ratio(worst.floors), worst.layout, verdict)
    table.print(out, indent=0)
    out.print()


def _names(group: Sequence[Match]) -> Iterator[list[str]]:
    yield [one.step for one in group]
    tensors = [one.tensor for one in group]
    yield tensors if len(fold(tensors)) == 1 else [tensors[0], *(["..."] if len(tensors) > 1 else [])]


def _print_rest(matched: Matched, out: Console) -> None:
    floor = "the reference's error in its free run" if matched.is_measured else (
        "64 roundoffs of float32, for none was measured; give --baseline"
    )  # fmt: skip
    print_line(out, f"floor      1 floor = {floor}; {ALLOWED:g} are allowed.")
    shown = ", ".join(map(plain, matched.nobodys[:SHOWN]))
    more = f" and {len(matched.nobodys) - SHOWN:,} more" if len(matched.nobodys) > SHOWN else ""
    told = f", {len(matched.nobodys):,} of them no step: {shown}{more}" if matched.nobodys else ", each a step"
    print_line(out, f"tensors    {matched.tensors:,} in the dump{told}")
