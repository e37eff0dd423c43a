"""Commands about what the reference computed before: look at it, remove it."""

from __future__ import annotations

import typer

from parity.errors import ExitCode

cache = typer.Typer(no_args_is_help=True, help="What the reference computed before, and need not compute again.")


@cache.command()
def show() -> int:
    """Say where it is, how large, and what is in it."""
    from parity.report.cache import print_entries
    from parity.report.console import console
    from parity.running.cache import cache as found

    print_entries(found(), console())
    return ExitCode.PARITY


@cache.command()
def clear() -> int:
    """Remove all of it; the next comparison computes anew."""
    from parity.running.cache import cache as found

    if kept := found():
        kept.clear()
    return ExitCode.PARITY
