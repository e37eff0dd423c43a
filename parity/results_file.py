"""The results of work that takes hours: a file that grows by a line for each, and goes on where it was left.

The first line says what the rest are results of.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from parity.errors import UsageError


class ResultsLine(BaseModel):
    """A line of such a file."""

    # JSON has no infinity, and a ratio may be infinite: an integer step that differs has no floor.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


H = TypeVar("H", bound=ResultsLine)
R = TypeVar("R", bound=ResultsLine)


class ResultsFile(Generic[H, R]):
    """The results of one piece of work, kept in a file.

    Attributes:
        what: whose results they are, for messages, e.g. ``a survey``.
        heads, lines: the kinds of the first line and of the others.
        head: what they are results of.
        found: all of them, in the order in which they were written.
    """

    what: ClassVar[str]
    heads: ClassVar[type[Any]]
    lines: ClassVar[type[Any]]

    def __init__(self, path: Path, head: H, found: Iterable[R] = ()) -> None:
        self.path, self.head, self.found = path, head, list(found)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file; its last line may have been cut off in the middle of being written.

        Raises:
            UsageError: when it cannot be read or holds something else.
        """
        try:
            first, *lines = path.read_text(encoding="utf-8").splitlines()
            whole = lines if not lines or _is_json(lines[-1]) else lines[:-1]
            head = cls.heads.model_validate_json(first)
            return cls(path, head, [cls.lines.model_validate_json(line) for line in whole])
        except (OSError, ValueError) as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise UsageError(f"{path} holds no results of {cls.what}: {why}") from error

    @classmethod
    def begin(cls, path: Path, head: H) -> Self:
        """Go on with the results of that file, or begin it.

        Raises:
            UsageError: when they are of something else.
        """
        results = cls.read(path) if path.exists() else cls(path, head)
        for field in cls.heads.model_fields:
            there, here = getattr(results.head, field), getattr(head, field)
            if there != here:
                raise UsageError(
                    f"{path} is of another {field}, {there} and not {here}; remove it or name another file"
                )
        path.write_text("".join(f"{line.model_dump_json()}\n" for line in (head, *results.found)), encoding="utf-8")
        return results

    def add(self, results: Sequence[R]) -> None:
        """Write results at once, all or, where the machine fails, the first of them."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write("".join(f"{result.model_dump_json()}\n" for result in results))
            stream.flush()
            os.fsync(stream.fileno())
        self.found += results


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
