"""Reading JSON that anybody may have written: one reader, with the same limits for every file.

Whatever is wrong with a file is a `ValueError` in a few words; its caller knows what it is and how it is made.
"""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

DEEPEST = 64
"""Levels of lists and objects: ours have a dozen, and Python's own functions on nested data end at some 300."""
LARGEST = 1 << 28
"""Bytes: a vocabulary of 262,144 tokens has 33 MB, a report of 5 candidates 4 MB."""
INTEGERS = range(-(1 << 63), 1 << 64)
"""What 64 bits hold, with or without a sign: beyond it NumPy and every other reader of our files fail."""


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it is no regular file or cannot be opened, is no JSON, or is beyond the limits.
    """
    return parse_json(read_text(path))


def read_text(path: Path, *, newline: str | None = None) -> str:
    """The text of a file; of a pipe or a device nothing is read, for that might never end.

    Args:
        path: of the file.
        newline: as `open` takes it: by default every way to end a line is read as one, with ``""`` all stay as written.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it is no regular file, cannot be opened, is larger than `LARGEST`, or is not UTF-8.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file")
        if found.st_size > LARGEST:
            raise ValueError(f"{found.st_size:,} bytes, more than {LARGEST:,}")
        with path.open(encoding="utf-8", newline=newline) as stream:
            return stream.read()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start:,}") from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error


def parse_json(text: str | bytes) -> Any:
    """The content of JSON text; bytes are UTF-8, for JSON between programs is nothing else (RFC 8259, 8.1).

    Raises:
        ValueError: when it is no JSON, or is beyond the limits.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        data = json.loads(
            text, parse_int=_integer, parse_float=_number, parse_constant=_constant, object_pairs_hook=_object
        )
    except RecursionError:
        raise ValueError(f"nested more than {DEEPEST} levels deep") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start:,}") from error
    _require_flat(data)
    return data


def _require_flat(data: Any) -> None:
    """Refuse what is too deep, level by level."""
    level: list[Any] = [data]
    for _ in range(DEEPEST + 1):
        level = [item for items in level if isinstance(items, dict | list) for item in _items(items)]
        if not level:
            return
    raise ValueError(f"nested more than {DEEPEST} levels deep")


def _items(items: dict[str, Any] | list[Any]) -> Iterable[Any]:
    inner = items.values() if isinstance(items, dict) else items
    return (item for item in inner if isinstance(item, dict | list))


def _integer(text: str) -> int:
    if len(text) > 20 or (number := int(text)) not in INTEGERS:
        raise ValueError(f"an integer of {len(text.lstrip('-')):,} digits, beyond 64 bits")
    return number


def _number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"the number {text[:20]} is beyond float64")
    return number


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it names {twice[:60]!r} twice")
    return found
