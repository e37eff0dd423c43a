"""Names that become names of files: of phases, scenarios, goldens and parties. What they may be is said here alone."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Annotated

from pydantic import Field

from parity.errors import UsageError

LONGEST = 100
"""Characters of a name. File systems take 255 bytes, and ends such as ``.safetensors`` and ``.partial`` come on top."""

PATTERN = rf"^[A-Za-z0-9][A-Za-z0-9_.-]{{0,{LONGEST - 1}}}$"
"""No separator, and no dot in front: such a name stays in its folder, on any file system, and is never hidden."""

Name = Annotated[str, Field(pattern=PATTERN)]
"""A name in a file that pydantic reads."""

_ALLOWED = re.compile(PATTERN)
_OTHER = re.compile(r"[^A-Za-z0-9_.@=:,+-]")
"""What a party's name may not keep in a file's: ``my_port:Backend@layers=2`` stays as it is, a path in it does not."""
_DIGITS = 8


def require_name(what: str, name: object) -> str:
    """Refuse what would not be a file's name inside a folder.

    Raises:
        UsageError: saying what has that name, and what a name may be.
    """
    if not isinstance(name, str) or not _ALLOWED.fullmatch(name):
        raise UsageError(
            f"{what} is called {_shown(name)}, which may not name a file: give it up to {LONGEST} of the letters "
            "A to Z and a to z, digits, '_', '.' and '-', a letter or a digit first"
        )
    return name


def file_name(party: str) -> str:
    """What files of a party are called, whose name a user gave: ``module:Class`` with options, which may hold paths."""
    safe = _OTHER.sub("_", party)
    safe = f"_{safe}" if safe.startswith(".") else safe
    if len(safe) <= LONGEST:
        return safe
    return f"{safe[: LONGEST - _DIGITS - 1]}-{sha256(party.encode(errors='replace')).hexdigest()[:_DIGITS]}"


def _shown(name: object) -> str:
    text = repr(name)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
