"""Entry points: how the engine finds what it does not know by name: backends, arithmetics, commands."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any, TypeVar

from parity.errors import UsageError

T = TypeVar("T")


def targets(group: str) -> dict[str, str]:
    """Names and targets (``module:attribute``) that the installed packages offer in a group, sorted by name."""
    return {entry.name: entry.value for entry in sorted(entry_points(group=group), key=lambda entry: entry.name)}


def load(name: str, group: str, noun: str) -> Any:
    """The object called `name`: an installed one of the group, or ``module:attribute`` for one that is not installed.

    Args:
        name: what the user wrote.
        group: of entry points.
        noun: what messages call a member of the group.

    Raises:
        UsageError: for an unknown name, or a target that cannot be imported.
    """
    known = targets(group)
    target = known.get(name, name)
    if ":" not in target:
        installed = ", ".join(known) or "none"
        raise UsageError(f"unknown {noun} {name!r}; installed: {installed}; or give module:Class")
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"{noun} {name!r} cannot be imported from {target}: {error}") from error


def make(name: str, group: str, noun: str, kind: type[T]) -> T:
    """What the function of that name makes, which is found as `load` finds it.

    Raises:
        UsageError: for an unknown name, or a function that makes something else.
    """
    made = load(name, group, noun)()
    if not isinstance(made, kind):
        raise UsageError(f"{noun} {name!r}: {targets(group).get(name, name)} makes no parity {kind.__name__}")
    return made
