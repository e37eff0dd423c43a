"""The parts of a golden that reviewers read, as tab-separated text: greedy tokens, and the floors of step families."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

DIGITS = 6
"""Significant digits: float64 noise of the oracle stays below them."""


@dataclass(frozen=True)
class GreedyChoice:
    """The oracle's greedy token at one position.

    Attributes:
        margin: its lead over the second choice, in logits.
        noise: per arithmetic, the baseline's largest error of a logit here.
    """

    phase: str
    row: int
    token: int
    id: int
    margin: float
    noise: tuple[float, ...]


@dataclass(frozen=True)
class FamilyFloor:
    """The largest floors of a family of steps (see `parity.traces.scale.family`) over all phases.

    Attributes:
        lockstep, free: per arithmetic, relative L2.
    """

    family: str
    lockstep: tuple[float, ...]
    free: tuple[float, ...]


def write_choices(choices: Iterable[GreedyChoice], dtypes: Sequence[str], path: Path) -> None:
    """Write ``tokens.tsv``."""
    head = ("phase", "row", "token", "id", "margin", *(f"noise {dtype}" for dtype in dtypes))
    rows = ((c.phase, c.row, c.token, c.id, _number(c.margin), *map(_number, c.noise)) for c in choices)
    _write(path, head, rows)


def read_choices(dtypes: Sequence[str], path: Path) -> tuple[GreedyChoice, ...]:
    """Read ``tokens.tsv``.

    Raises:
        OSError, ValueError: when it is missing or malformed.
    """
    return tuple(
        GreedyChoice(
            phase=phase,
            row=int(row),
            token=int(token),
            id=int(id_),
            margin=float(margin),
            noise=tuple(map(float, noise)),
        )
        for phase, row, token, id_, margin, *noise in _read(path, 5 + len(dtypes))
    )


def write_floors(floors: Iterable[FamilyFloor], dtypes: Sequence[str], path: Path) -> None:
    """Write ``floors.tsv``."""
    head = ("family", *(f"{run} {dtype}" for run in ("lockstep", "free") for dtype in dtypes))
    _write(path, head, ((floor.family, *map(_number, (*floor.lockstep, *floor.free))) for floor in floors))


def read_floors(dtypes: Sequence[str], path: Path) -> tuple[FamilyFloor, ...]:
    """Read ``floors.tsv``.

    Raises:
        OSError, ValueError: when it is missing or malformed.
    """
    count = len(dtypes)
    rows = _read(path, 1 + 2 * count)
    numbers = ((name, tuple(map(float, values))) for name, *values in rows)
    return tuple(FamilyFloor(name, values[:count], values[count:]) for name, values in numbers)


def _number(value: float) -> str:
    return f"{value:.{DIGITS}g}"


def _write(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    lines = ["\t".join(map(str, row)) for row in (head, *rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _read(path: Path, columns: int) -> list[list[str]]:
    text = path.read_text(encoding="utf-8")
    lines = [line.split("\t") for line in text.splitlines()]
    if not text.endswith("\n"):
        raise ValueError(f"{path.name} is cut off")
    if any(len(line) != columns for line in lines):
        raise ValueError(f"{path.name}: a line has not {columns} columns")
    return lines[1:]
