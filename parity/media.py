"""What a user gives besides tokens: text with pictures and sounds among it, kept beside the trace that used it."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from parity.errors import UsageError

Medium = Literal["text", "image", "audio"]
FOLDER = "media"
"""Where a trace keeps its media."""
PIXELS = "PARITY_PIXELS"
"""The variable of the environment for how many pixels a picture may have, where a reader's own limit is too many."""
HEX_DIGITS = 32
"""Hexadecimal digits of the digest that names a file: 128 bits."""

_KEPT = re.compile(rf"[0-9a-f]{{{HEX_DIGITS}}}\.[a-z0-9]{{0,8}}")


@dataclass(frozen=True)
class Part:
    """One part of a prompt.

    Attributes:
        kind: what it is.
        value: the text itself, or the path of an image or audio file.
    """

    kind: Medium
    value: str


Prompt = tuple[Part, ...]
"""What a user says in one turn, in order."""


def keep(prompt: Prompt, trace: Path) -> Prompt:
    """Copy a prompt's files into a trace's folder, under the digest of their content; they are named by it from then.

    Raises:
        UsageError: for a file that cannot be read.
    """
    return _with_files(prompt, lambda value: _keep(Path(value), trace))


def resolve(prompt: Prompt, trace: Path) -> Prompt:
    """The prompt with the paths of the files that the trace in that folder keeps.

    Raises:
        UsageError: for a file that is missing, is not the one that was kept, or lies outside the trace.
    """
    return _with_files(prompt, lambda value: _kept(value, trace))


def parse(data: Any) -> Prompt:
    """Read a prompt's JSON form.

    Raises:
        KeyError, TypeError, ValueError: when it is none.
    """
    return tuple(_part(part) for part in data)


def _with_files(prompt: Prompt, change: Callable[[str], str]) -> Prompt:
    return tuple(part if part.kind == "text" else replace(part, value=change(part.value)) for part in prompt)


def _part(data: Mapping[str, Any]) -> Part:
    kind, value = data["kind"], data["value"]
    if kind not in get_args(Medium) or not isinstance(value, str):
        raise ValueError(f"no part of a prompt: {kind!r}")
    return Part(kind, value)


def _keep(file: Path, trace: Path) -> str:
    try:
        name = content_name(file)
        (trace / FOLDER).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, trace / FOLDER / name)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    return name


def content_name(file: Path) -> str:
    """The name of a file's content, the same wherever it lies.

    Raises:
        UsageError: for a file that cannot be read.
    """
    try:
        return digest(file) + _suffix(file)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error


def _kept(name: str, trace: Path) -> str:
    file = trace / FOLDER / name
    if not _KEPT.fullmatch(name) or not file.is_file() or digest(file) != name[:HEX_DIGITS]:
        raise UsageError(f"trace {trace} lacks its file {name!r}, or it was changed; write the trace again")
    return str(file)


def _suffix(file: Path) -> str:
    """The file's suffix, by which some decoders choose; only a dot where it is unusual."""
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix := file.suffix.lower()) else "."


def digest(file: Path) -> str:
    """SHA-256 of a file's content, shortened to `HEX_DIGITS`."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:HEX_DIGITS]
