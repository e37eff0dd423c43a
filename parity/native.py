"""Libraries in C and Rust: they print on standard error, panic past every `except`, and keep memory that was freed."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

STANDARD_ERROR = 2
"""The descriptor that they print on, whatever `sys.stderr` is."""
PANIC = "pyo3_runtime"
"""The module of the type of every panic, which is a `BaseException` and can be imported from nowhere."""
_QUIET = threading.Lock()


class Panic(RuntimeError):
    """A library in Rust met what its author thought could not be, as others raise an error."""


@contextmanager
def tamed() -> Iterator[None]:
    """A panic inside this block is an exception.

    Raises:
        Panic: with its message in one line.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__module__ != PANIC:
            raise
        raise Panic(" ".join(str(error).split())) from error


@contextmanager
def quiet() -> Iterator[None]:
    """What is printed on standard error inside this block, as libmpg123 does of a broken frame, goes nowhere.

    One thread at a time: of two that overlap, the second would take the first one's nowhere for standard error.
    """
    with _QUIET, open(os.devnull, "wb") as nowhere:
        kept = os.dup(STANDARD_ERROR)
        try:
            os.dup2(nowhere.fileno(), STANDARD_ERROR)
            yield
        finally:
            os.dup2(kept, STANDARD_ERROR)
            os.close(kept)


def give_back() -> None:
    """Give memory that was freed back to the system, which the C library keeps: of a party that waits, 0.3 GB."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """What does so in the GNU C library; no other has it."""
    with suppress(AttributeError, OSError, TypeError):
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
        return found
    return None
