"""Folding: steps that differ in one number only, a layer's or a stream's, are shown as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from parity.report.numbers import ranges


@dataclass
class Family:
    """Names that are alike but for one number, e.g. ``text.layers.{0-9}.out``.

    Attributes:
        before: the name up to the number.
        after: the name behind it.
        indices: the numbers; none for a name without one.
    """

    before: str
    after: str = ""
    indices: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        """One name for all; that of a single member is its own."""
        if not self.indices:
            return self.before
        numbers = ranges(self.indices)
        return f"{self.before}{numbers if numbers.isdigit() else f'{{{numbers}}}'}{self.after}"


def split(name: str) -> tuple[str, int | None, str]:
    """A dotted name around its first number: ``text.layers.3.out`` is ``("text.layers.", 3, ".out")``."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.isascii() and part.isdigit() and str(int(part)) == part:
            before, after = parts[:place], parts[place + 1 :]
            return "".join(f"{p}." for p in before), int(part), "".join(f".{p}" for p in after)
    return name, None, ""


def fold(names: Iterable[str]) -> list[str]:
    """Each family's name, in the order in which the families begin."""
    families: dict[tuple[str, str], Family] = {}
    for name in names:
        before, index, after = split(name)
        family = families.setdefault((before, after), Family(before, after))
        if index is not None:
            family.indices.append(index)
    return [family.name for family in families.values()]


def phases(names: Sequence[str]) -> str:
    """Phases as one word, e.g. ``prefill, decode.{1-8}``."""
    return ", ".join(fold(dict.fromkeys(names)))
