"""The other side of K: the known bugs that are missed with it, from what ``parity variants score --json`` printed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.errors import UsageError
from parity.json_file import read_json

SCORES = "parity-variants"


@dataclass(frozen=True)
class Misses:
    """How far known bugs are from the floor, each at its own step, in one arithmetic.

    Attributes:
        ratios: in floors; infinite for a bug that no K hides, as of integers, shapes and tokens.
        accumulated: how many were found below the noise of each value, which K does not decide.
    """

    dtype: str
    ratios: tuple[float, ...]
    accumulated: int = 0

    def missed(self, allowed: float) -> float:
        """The share of bugs within so many floors: what would be missed with that K, but for what is accumulated."""
        return sum(ratio <= allowed for ratio in self.ratios) / len(self.ratios)


def read_misses(paths: Iterable[Path]) -> tuple[Misses, ...]:
    """Read scores: a file holds one arithmetic or several.

    Raises:
        UsageError: for a file that cannot be read or holds none.
    """
    return tuple(misses for path in paths for misses in _read(path))


def _read(path: Path) -> list[Misses]:
    try:
        data = read_json(path)
        found = data if isinstance(data, list) else [data]
        if found and all(score["schema"] == SCORES and score["scores"] for score in found):
            return [_of(score) for score in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} holds no scores of variants ({error}); write it with score --json") from error
    raise UsageError(f"{path} holds no scores of variants; write it with parity variants score --json")


def _of(score: dict[str, Any]) -> Misses:
    """Of one arithmetic.

    Raises:
        KeyError: for a field that is missing; TypeError, ValueError for one that the command does not write so.
    """
    bugs = [row for row in score["scores"] if not row["equivalent"]]
    if not bugs or not isinstance(score["dtype"], str):
        raise ValueError("no bugs in an arithmetic")
    return Misses(score["dtype"], tuple(map(_ratio, bugs)), sum(bool(row["sigmas"]) for row in bugs))


def _ratio(row: dict[str, Any]) -> float:
    """A flagged bug without a finite ratio is beyond any K; one that was not flagged and not measured is within any."""
    if row["ratio"] is None:
        return math.inf if row["flagged"] else 0.0
    return float(row["ratio"])
