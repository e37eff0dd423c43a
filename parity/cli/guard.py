"""The border of the command line: whatever goes wrong becomes one line on standard error and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

from parity.errors import DEBUG, ExitCode, ParityError, cut, debugging
from parity.native import tamed

INTERRUPTED = 130
BROKEN_PIPE = 141


def guarded(action: Callable[[], int]) -> int:
    """The exit code of `action`, or of its failure. ``PARITY_DEBUG=1`` shows the traceback of any failure.

    128 + a signal's number, as shells have it, stands for an interrupt and for a reader that closed the pipe.
    """
    try:
        with tamed():
            code = action()
        sys.stdout.flush()
    except Exception as error:  # every failure of a command, its own faults included
        return _failed(error)
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    return code


def complain(message: str) -> None:
    """Write one line on standard error."""
    from parity.report.console import plain

    with contextlib.suppress(OSError):  # nobody listens
        print(f"parity: {cut(plain(cut(message)))}", file=sys.stderr, flush=True)


def _failed(error: Exception) -> int:
    if _asks_to_exit(error):
        return int(getattr(error, "exit_code", 0))
    if debugging():
        import traceback

        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        _silence(sys.stdout.fileno())
        return BROKEN_PIPE
    if isinstance(error, ParityError):
        complain(str(error))
        return error.exit_code
    complain(_unexpected(error))
    if isinstance(error, OSError):
        _silence(sys.stdout.fileno())  # the interpreter would try to write to a full disk once more
    return ExitCode.USAGE


def _asks_to_exit(error: Exception) -> bool:
    """Whether this is no failure but typer's way to end a command, e.g. after ``--help``."""
    return type(error).__name__ == "Exit" and hasattr(error, "exit_code")


def _unexpected(error: Exception) -> str:
    if hasattr(error, "format_message"):  # a usage error of typer's, of whichever library it builds on
        return f"{error.format_message().rstrip('.') or 'no command is given'}; see {_help(error)}"
    if isinstance(error, OSError):
        place = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{place}"
    return f"internal error, {type(error).__name__}: {error}; {DEBUG}=1 shows where"


def _help(error: Exception) -> str:
    """The command whose help explains the usage."""
    return f"{getattr(getattr(error, 'ctx', None), 'command_path', 'parity')} --help"


def _silence(descriptor: int) -> None:
    """Let what is still buffered go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
