"""What parties are asked to run: an arithmetic that they have, a prompt, a scenario as the reference plans it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import Any

from parity.checkpoint import Checkpoint
from parity.discovery import find_reference, references_of, require_dtype
from parity.errors import UsageError
from parity.media import Part
from parity.running.party import Crash, Party
from parity.running.progress import Silent

ORACLE_DTYPE = "float64"


def require_dtypes(backends: Iterable[str], dtypes: Iterable[str]) -> None:
    """Refuse arithmetics before anything is loaded, by importing each backend in a process of its own.

    Raises:
        UsageError: for an unknown backend, or one that does not have an arithmetic. One whose import crashes passes:
            that is its verdict, later.
    """
    wanted = list(dtypes)
    with ExitStack() as stack:
        parties = [stack.enter_context(Party(name, name, progress=Silent())) for name in backends]
        for party in parties:
            with suppress(Crash):
                for dtype in wanted:
                    require_dtype(party.backend, party.dtypes, dtype)


def owners(backends: Iterable[str]) -> tuple[str, ...]:
    """Those that compute with weights of their own; one whose import crashes says so later.

    Raises:
        UsageError: for an unknown backend.
    """
    found = []
    with ExitStack() as stack:
        for party in [stack.enter_context(Party(name, name, progress=Silent())) for name in backends]:
            with suppress(Crash):
                found += [party.name] if party.has_weights else []
    return tuple(found)


def cores() -> int:
    """Parties that compute at a time: of more, none is ready sooner, and each holds its largest tensors."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def require_admitted(checkpoint: Checkpoint, reference: str | None, prompt: str | None, media: Sequence[Part]) -> None:
    """Refuse what a checkpoint's configuration says cannot be run, before anything is started.

    Args:
        checkpoint: that is to run.
        reference: its name; None for the installed one of the checkpoint's type of model, if there is one.
        prompt: the text.
        media: pictures and sounds before it.

    Raises:
        UsageError: as the reference says it.
    """
    name = reference or next(iter(references_of(checkpoint)), None)
    if name is not None:
        find_reference(name).admit(checkpoint.path, prompt, media)


def plan_of(oracle: Party, scenario: str, prompt: str | None, media: Sequence[Part]) -> dict[str, Any]:
    """The scenario of that name, as the loaded reference plans it."""
    plan: dict[str, Any] = oracle.call("scenario", **plan_job(scenario, prompt, media))
    return plan


def plan_job(scenario: str, prompt: str | None, media: Sequence[Part]) -> dict[str, Any]:
    """What a party is asked for a plan."""
    return {"name": scenario, "prompt": prompt, "media": [asdict(part) for part in media]}
