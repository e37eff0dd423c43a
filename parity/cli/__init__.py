"""The command line. Heavy modules are imported by the commands that need them, so that the others start at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from parity.cli.guard import guarded
from parity.cli.surroundings import settle
from parity.errors import UsageError

PROGRAM = "parity"
COMPLETION = "_PARITY_COMPLETE"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    closed = settle()
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code = guarded(lambda: _invoke(sys.argv[1:] if arguments is None else arguments, closed))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is said is said: Python's own end would show a traceback
    sys.exit(code)


def _invoke(arguments: Sequence[str], closed: bool) -> int:
    """Run one command; its exceptions come through, where typer would print or swallow some.

    Raises:
        UsageError: where standard output is closed.
    """
    if closed:
        raise UsageError(f"standard output is closed; send it to {os.devnull} where nobody is to read it")
    import typer

    from parity.cli.app import app

    command = typer.main.get_command(app)
    if COMPLETION in os.environ:
        command.main(args=list(arguments), prog_name=PROGRAM, complete_var=COMPLETION)
    with command.make_context(PROGRAM, list(arguments)) as context:
        return int(command.invoke(context) or 0)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """End as after an exception: workers are stopped, temporary traces and the progress display are removed."""
    sys.exit(128 + number)
