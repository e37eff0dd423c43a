"""Entry points: how the engine finds what it does not know by name: backends, arithmetics, commands."""

from __future__ import annotations

import functools
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from parity.errors import ParityError, UsageError

T = TypeVar("T")

_SURVIVED = b"survived"
_TRIAL = f"""
import contextlib, importlib, json, sys
sys.path[:] = json.loads(sys.argv[1])
with contextlib.suppress(Exception):
    importlib.import_module(sys.argv[2])
sys.stdout.write({_SURVIVED.decode()!r})
"""


@functools.cache  # to read what is installed takes 25 ms, and a comparison asks a dozen times
def targets(group: str) -> Mapping[str, str]:
    """Names and targets (``module:attribute``) that the installed packages offer in a group, sorted by name."""
    return {entry.name: entry.value for entry in sorted(entry_points(group=group), key=lambda entry: entry.name)}


def target_of(name: str, group: str, noun: str) -> str:
    """Where the object called `name` is: an installed one of the group, or ``module:attribute`` itself.

    Args:
        name: what the user wrote.
        group: of entry points.
        noun: what messages call a member of the group.

    Raises:
        UsageError: for an unknown name, or one that no module can have.
    """
    known = targets(group)
    target = known.get(name, name)
    if ":" not in target:
        installed = ", ".join(known) or "none"
        raise UsageError(f"unknown {noun} {name!r}; installed: {installed}; or give module:Class")
    module, _, attribute = target.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise UsageError(f"{noun} {name!r}: {target} is no place in a module; give module:Class, with dots for folders")
    return target


def load(name: str, group: str, noun: str) -> Any:
    """The object called `name`, which is found as `target_of` finds it.

    Raises:
        UsageError: for an unknown name, or a target that cannot be imported.
    """
    target = target_of(name, group, noun)
    module, _, attribute = target.partition(":")
    if target == name:
        _reach_current_folder()
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UsageError(f"{noun} {name!r} cannot be imported from {target}: {error}") from error


def _reach_current_folder() -> None:
    """A user's own module may be in the folder that he is in; it is looked at last, so nothing there hides another."""
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)


def place_of(name: str, group: str, noun: str) -> Path:
    """The folder of the outermost package that an object is in, or the single file of its module; nothing is imported.

    Raises:
        UsageError: for an unknown name, or a module that is nowhere.
    """
    target = target_of(name, group, noun)
    if target == name:
        _reach_current_folder()
    found = find_spec(target.partition(":")[0].partition(".")[0])
    places = [*(found.submodule_search_locations or filter(None, [found.origin]))] if found else []
    if not places:
        raise UsageError(f"{noun} {name!r}: there is no module of {target} to look at")
    return Path(places[0])


def require_survivable(name: str, group: str, noun: str) -> None:
    """Import a user's own module in a process of its own, before this one does: it may end Python, with any exit code.

    What it throws is not looked at: to import it here throws the same, and says it.

    Raises:
        UsageError: for an unknown name, or a module whose import ends the process.
    """
    target = target_of(name, group, noun)
    module = target.partition(":")[0]
    if target != name or module in sys.modules:
        return
    _reach_current_folder()
    if find_spec(module.partition(".")[0]) is None:
        return
    command = [sys.executable, "-P", "-c", _TRIAL, json.dumps(sys.path), module]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if not done.stdout.endswith(_SURVIVED):
        raise UsageError(f"{noun} {name!r} cannot be imported: {module} ends Python (exit code {done.returncode})")


def make(name: str, group: str, noun: str, kind: type[T]) -> T:
    """What the function of that name makes, which is found as `load` finds it.

    Raises:
        UsageError: for an unknown name, or a function that makes something else.
    """
    target = targets(group).get(name, name)
    require_survivable(name, group, noun)
    try:
        made = load(name, group, noun)()
    except ParityError:
        raise
    except (Exception, SystemExit) as error:  # whatever others' code throws: here it runs in this process
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{noun} {name!r}: {target} cannot be called: {reason}") from error
    if not isinstance(made, kind):
        raise UsageError(f"{noun} {name!r}: {target} makes no parity {kind.__name__}")
    return made
