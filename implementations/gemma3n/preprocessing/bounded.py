"""Limits on a Jinja program that anybody may have written: lines, time, and the size of what it makes.

Jinja's sandbox keeps a template from the program around it, and bounds `range`; loops within loops, and a text that is
joined with itself, are the template's own. So its lines are counted as they run, and at each its texts are looked at.
"""

from __future__ import annotations

import functools
import re
import sys
import time
from collections.abc import Callable, Iterable
from types import FrameType, TracebackType
from typing import Any, Self

from jinja2.filters import do_format
from jinja2.runtime import Namespace  # type: ignore[attr-defined]  # a template's `namespace()`
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_LINES = 200_000
"""Lines of a template's code that run: a conversation of 1,000 turns takes some 50,000."""
MOST_SECONDS = 10.0
MOST_CHARACTERS = 1 << 24
"""Of the prompt and of any text on the way to it: 16 times the longest context there is, with 16 characters a token."""
LARGEST = 1 << 20
"""Of numbers that a template may give to a function or multiply a text by: they become widths and counts."""

CODE = "<template>"
"""The file that Jinja names as the source of a template without a name."""


class BeyondLimit(Exception):
    """A template is beyond a limit."""


class Bound:
    """Counts what runs of a template in this thread. Use as a context around its rendering."""

    def __init__(self) -> None:
        self._lines, self._end = 0, time.monotonic() + MOST_SECONDS
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        sys.settrace(self._before)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename == CODE else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._lines += 1
        if self._lines > MOST_LINES or time.monotonic() > self._end:
            raise BeyondLimit(f"it runs more than {MOST_LINES:,} lines, or {MOST_SECONDS:.0f} s")
        for value in frame.f_locals.values():
            require_small(value)
        return self._line


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox in which no single call makes something huge."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters.update({name: _bounded(filtered) for name, filtered in self.filters.items()})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An operator, of operands that are small and give something small."""
        _require_small((left, right))
        if operator == "*":
            _require_few(_size(left) * _size(right))
        elif operator == "**" and isinstance(left, int):
            _require_few(left.bit_length() * _size(right))
        elif operator == "%" and isinstance(left, str):
            _require_narrow(left)
        return require_small(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A call, with arguments that are small."""
        _require_small((*args, *kwargs.values()))
        if isinstance(of := getattr(__obj, "__self__", None), str):
            _require_narrow(of)
        return require_small(super().call(__context, __obj, *args, **kwargs))


def collected(pieces: Iterable[str]) -> str:
    """A template's output.

    Raises:
        BeyondLimit: when it is too long.
    """
    made, size = [], 0
    for piece in pieces:
        made.append(piece)
        if (size := size + len(piece)) > MOST_CHARACTERS:
            raise BeyondLimit(f"it makes more than {MOST_CHARACTERS:,} characters")
    return "".join(made)


def require_small(value: Any) -> Any:
    """A value of a template, if it is no huge text or list.

    Raises:
        BeyondLimit: when it is.
    """
    inner = value._Namespace__attrs.values() if isinstance(value, Namespace) else (value,)
    for one in inner:
        if isinstance(one, str | list | tuple) and len(one) > MOST_CHARACTERS:
            raise BeyondLimit(f"it makes more than {MOST_CHARACTERS:,} characters")
    return value


def _require_small(numbers: Iterable[Any]) -> None:
    for number in numbers:
        if isinstance(number, int | float) and abs(number) > LARGEST:
            raise BeyondLimit(f"it computes with numbers beyond {LARGEST:,}")


def _size(value: Any) -> int:
    """By which a product is larger: a text's or a list's length, of a number how often it repeats such a one."""
    if isinstance(value, str | list | tuple):
        return len(value)
    return max(int(abs(value)), 1) if isinstance(value, int | float) else 1


def _require_few(count: int) -> None:
    if count > MOST_CHARACTERS:
        raise BeyondLimit(f"it makes more than {MOST_CHARACTERS:,} characters")


def _require_narrow(form: str) -> None:
    """Refuse a text that may be a format with a huge width."""
    if re.search(r"[%{][^%{}]*\d{7}", form):
        raise BeyondLimit(f"it computes with numbers beyond {LARGEST:,}")


def _bounded(filtered: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose arguments are small; it keeps the marks by which Jinja calls it."""

    @functools.wraps(filtered)
    def call(*arguments: Any, **named: Any) -> Any:
        _require_small((*arguments, *named.values()))
        if filtered is do_format:
            _require_narrow(str(arguments[0]))
        return require_small(filtered(*arguments, **named))

    return call
