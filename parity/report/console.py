"""Where reports are printed: consoles that never cut a name, and text that cannot command a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from typing import IO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

PIPED_WIDTH = 160
"""Columns of a pipe or file, where nothing limits a line; COLUMNS overrides it."""


class PlainConsole(Console):
    """A console that takes text as it is, and leaves a closed pipe to the caller."""

    def on_broken_pipe(self) -> None:
        """Raise again, where rich would end the process with the exit code that means divergence."""
        raise BrokenPipeError


def console(file: IO[str] | None = None, *, width: int | None = None) -> PlainConsole:
    """A console for standard output or `file`: colour only on a terminal without ``NO_COLOR``; markup never."""
    file = sys.stdout if file is None else file
    return PlainConsole(
        file=file,
        width=width or _width(file),
        markup=False,
        emoji=False,
        highlight=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
    )


def _width(file: IO[str]) -> int:
    if file.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return max(shutil.get_terminal_size().columns, 1)
    return PIPED_WIDTH


def plain(text: object) -> str:
    r"""`text` with everything that is not printable written as an escape, ``\x1b`` for ESC, ``\n`` for a line end.

    Prompts, and names in traces of others, are untrusted: they could hold terminal commands, or line ends that forge
    lines of the report, or invisible marks that turn the direction of writing.
    """
    text = str(text)
    if text.isprintable():  # nearly all are, and a page has a hundred thousand
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def short(text: str, length: int = 60) -> str:
    """`text` in quotes, escaped; of a long one the beginning and how long it is."""
    if len(text) <= length:
        return f'"{plain(text)}"'
    return f'"{plain(text[:length])}..." ({len(text):,} characters)'


def print_line(out: Console, *parts: str | tuple[str, str], indent: int = 0) -> None:
    """Print a sentence, broken in lines between words where it is too long; names are never broken."""
    for number, line in enumerate(wrap(out, Text.assemble(*parts), out.width - indent - 2)):
        out.print(Text(" " * (indent + 2 * (number > 0))) + line, soft_wrap=True)


def wrap(out: Console, text: Text, room: int) -> list[Text]:
    """`text` in lines of `room` cells, or of its longest word."""
    longest = max((cell_len(word) for word in text.plain.split()), default=1)
    lines = list(text.wrap(out, max(room, longest)))
    for line in lines:
        line.rstrip()
    return lines
