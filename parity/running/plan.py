"""What parties are asked to run: an arithmetic that they have, a prompt, a scenario as the reference plans it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from parity.discovery import find
from parity.errors import UsageError
from parity.media import Part
from parity.running.party import Party

ORACLE_DTYPE = "float64"


def require_dtype(candidates: Iterable[str], dtype: str) -> None:
    """Refuse an arithmetic before anything is started.

    Raises:
        UsageError: for an unknown backend, or one that does not have the arithmetic.
    """
    for name in candidates:
        known = find(name).dtypes
        if dtype not in known:
            raise UsageError(f"backend {name} has no dtype {dtype!r}; it has {', '.join(known)}")


def require_floor(dtype: str) -> None:
    """Refuse the oracle's own arithmetic where floors are needed.

    Raises:
        UsageError: for float64.
    """
    if dtype == ORACLE_DTYPE:
        raise UsageError(f"{ORACLE_DTYPE} is the oracle's arithmetic, where there is no floor; choose another")


def require_prompt(prompt: str | None) -> None:
    """Refuse an empty prompt before anything is started; none at all is the lightest debugging case.

    Raises:
        UsageError: for an empty one.
    """
    if prompt == "":
        raise UsageError("the prompt is empty; give some text, or no prompt at all for the lightest debugging case")


def plan_of(oracle: Party, scenario: str, prompt: str | None, media: Sequence[Part]) -> dict[str, Any]:
    """The scenario of that name, as the loaded reference plans it."""
    plan: dict[str, Any] = oracle.call("scenario", name=scenario, prompt=prompt, media=[asdict(part) for part in media])
    return plan
