"""What a command is started in: streams that may be closed or know few letters, and sizes of a terminal."""

from __future__ import annotations

import os
import sys

SIZES = ("COLUMNS", "LINES")
LARGEST = 10_000
"""Columns or lines: what is laid out for more takes all memory."""


def settle() -> bool:
    """Put in order what libraries take on trust; whether standard output is closed."""
    for name in SIZES:
        if not _is_size(os.environ.get(name, "1")):
            del os.environ[name]
    closed = sys.stdout is None
    for number in range(3):
        _open(number)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack a prompt's letters
    return closed


def _is_size(text: str) -> bool:
    """Whether it is a number as rich reads it, who takes ``²`` for a digit too, and then fails."""
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= LARGEST


def _open(number: int) -> None:
    """A closed stream goes nowhere: else the next file that is opened would be the stream."""
    try:
        os.fstat(number)
    except OSError:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor != number:
            os.dup2(descriptor, number)
            os.close(descriptor)
        name = ("stdin", "stdout", "stderr")[number]
        setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
