"""Options as users write them behind a backend's name: what cannot be is refused in one line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from parity.errors import UsageError


@dataclass(frozen=True)
class OptionTexts:
    """The options of a backend that were given.

    Args:
        backend: its name, for messages.
        meanings: of all that it has.
        texts: values by name.

    Raises:
        UsageError: for a name that it does not have.
    """

    backend: str
    meanings: Mapping[str, str]
    texts: Mapping[str, str]

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.texts) - set(self.meanings)):
            known = ", ".join(self.meanings)
            raise UsageError(f"backend {self.backend} has no option {unknown[0]!r}; it has {known}")

    def one_of(self, name: str, default: str, known: Collection[str]) -> str:
        """One of some words.

        Raises:
            UsageError: for another one.
        """
        if (value := self.texts.get(name, default)) not in known:
            raise UsageError(f"backend {self.backend}: {name}={value} is none of {', '.join(known)}")
        return value

    def count(self, name: str, default: int, most: int) -> int:
        """A number from 1 to `most`, which has 8 digits at the most.

        Raises:
            UsageError: for anything else.
        """
        if (text := self.texts.get(name)) is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 9 and 0 < int(text) <= most):
            raise UsageError(f"backend {self.backend}: {name}={text} is not a number from 1 to {most:,}")
        return int(text)
