"""Commands that other packages add to `parity`, through the entry-point group ``parity.commands``.

A plug-in is a typer function, or a `typer.Typer`. It is imported when it is named or listed, so it must not import a
framework with its module. One that cannot be imported is listed as broken, and says why when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from parity.entries import load, targets
from parity.errors import BackendUnavailable

COMMANDS = "parity.commands"


class Commands(TyperGroup):
    """The built-in commands, and behind them the plug-ins; of a name that both have, the built-in one."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names."""
        own = super().list_commands(ctx)
        return [*own, *(name for name in targets(COMMANDS) if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        own = super().get_command(ctx, cmd_name)
        return _command(cmd_name) if own is None and cmd_name in targets(COMMANDS) else own


def _command(name: str) -> Any:
    try:
        found = load(name, COMMANDS, "command")
    except Exception as error:  # whatever a module throws: the other commands must go on working
        found = _broken(name, error)
    if not isinstance(found, typer.Typer):
        # arguments of a broken command are not known, and are no mistake of the user's
        lenient = {"ignore_unknown_options": True, "allow_extra_args": True} if hasattr(found, "broken") else None
        app = typer.Typer(add_completion=False)
        app.command(name, context_settings=lenient)(found)
        found = app
    command = typer.main.get_command(found)
    command.name = name
    return command


def _broken(name: str, error: Exception) -> Callable[[], int]:
    reason = " ".join(str(error).split())[:300] or type(error).__name__

    def command() -> int:
        raise BackendUnavailable(f"command {name} is broken: {reason}")

    command.__doc__ = f"Broken: {reason}"
    command.broken = True  # type: ignore[attr-defined]
    return command
