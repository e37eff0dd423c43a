"""What can go wrong, each with the exit code of the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

DEBUG = "PARITY_DEBUG"
"""The variable of the environment that shows tracebacks: of the command, and of a party's process."""

LONGEST = 500
"""Characters of a message: what others wrote may stand in it, and they may have written megabytes."""


def debugging() -> bool:
    """Whether tracebacks are shown."""
    return os.environ.get(DEBUG, "0") not in ("", "0")


class ExitCode(IntEnum):
    """Exit codes of every `parity` command."""

    PARITY = 0
    DIVERGED = 1
    USAGE = 2
    UNAVAILABLE = 3
    STALE = 4
    INCOMPLETE = 5


class ParityError(Exception):
    """A failure that a user can act on: one line that says what, where and the cure."""

    exit_code = ExitCode.USAGE

    def __str__(self) -> str:
        return cut(super().__str__())


def cut(text: str, most: int = LONGEST) -> str:
    """A text of so many characters at most: of a longer one beginning and end, where the cure stands."""
    if len(text) <= most:
        return text
    left = f" ... ({len(text):,} characters) ... "
    end = (most - len(left)) // 2
    return text[: most - len(left) - end] + left + text[-end:]


class UsageError(ParityError):
    """The request, or a file that it names, cannot be used."""


class ContextExceeded(UsageError):
    """A prompt has more tokens than the model can look back on."""


class CannotWrite(UsageError):
    """There is no room for what is to be written, or no leave; whoever was to write it is not to blame."""


class BackendUnavailable(ParityError):
    """A backend is not installed, cannot load the checkpoint, or crashed."""

    exit_code = ExitCode.UNAVAILABLE


@contextmanager
def installed(how: str) -> Iterator[None]:
    """Inside it a backend's packages are imported; where one is missing, the error says `how` to install them.

    Raises:
        BackendUnavailable: for a package that is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise BackendUnavailable(f"{how} ({error})") from error


class StaleTrace(ParityError):
    """A trace was written by another format version, contract or checkpoint."""

    exit_code = ExitCode.STALE


def error_named(kind: str, message: str) -> ParityError:
    """Rebuild an error that a worker process reported by its class name."""
    known = (ParityError, UsageError, ContextExceeded, CannotWrite, BackendUnavailable, StaleTrace)
    return {cls.__name__: cls for cls in known}.get(kind, BackendUnavailable)(message)
