"""Tables that never cut a cell: where a line is too narrow, it runs over instead."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from parity.report.console import wrap

GAP = "  "


class Table:
    """A table without lines.

    Args:
        headers: of the columns; without any text in them no header is printed.
        right: headers of the columns that are aligned to the right.
        wraps: header of the column that may be broken between words.
    """

    def __init__(self, *headers: str, right: Iterable[str] = (), wraps: str | None = None) -> None:
        self._headers = headers
        self._right = [header in set(right) for header in headers]
        # of columns with the same header, it is the last that is broken
        self._wraps = None if wraps is None else len(headers) - 1 - headers[::-1].index(wraps)
        self._rows: list[list[Text]] = []
        if any(headers):
            self._rows.append([Text(header, "dim") for header in headers])

    def add(self, *cells: str | Text) -> None:
        """Add a row."""
        self._rows.append([cell if isinstance(cell, Text) else Text(cell) for cell in cells])

    @property
    def width(self) -> int:
        """Cells that the longest line takes when nothing is broken."""
        widths = self._widths()
        return sum(widths) + len(GAP) * (len(widths) - 1)

    def print(self, out: Console, *, indent: int = 2) -> None:
        """Print the table."""
        widths = self._widths()
        if self._wraps is not None:
            left = out.width - indent - (self.width - widths[self._wraps])
            widths[self._wraps] = min(widths[self._wraps], max(left, self._longest_word(self._wraps)))
        for row in self._rows:
            for line in self._lines(out, row, widths):
                line.rstrip()
                out.print(Text(" " * indent) + line, soft_wrap=True)

    def _widths(self) -> list[int]:
        columns = zip(*self._rows, strict=True)
        return [max(cell.cell_len for cell in column) for column in columns]

    def _longest_word(self, column: int) -> int:
        return max((cell_len(word) for row in self._rows for word in row[column].plain.split()), default=0)

    def _lines(self, out: Console, row: list[Text], widths: list[int]) -> Iterable[Text]:
        cells = [wrap(out, cell, width) for cell, width in zip(row, widths, strict=True)]
        for parts in zip_longest(*cells, fillvalue=Text()):
            padded = [self._pad(*column) for column in zip(parts, widths, self._right, strict=True)]
            yield Text(GAP).join(padded)

    @staticmethod
    def _pad(cell: Text, width: int, right: bool) -> Text:
        space = Text(" " * (width - cell.cell_len))
        return space + cell if right else cell + space
