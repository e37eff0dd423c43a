"""Faults that a backend declares of the package that it runs; an audit measures them (`parity.audit`).

A backend that declares faults takes an option ``patch``: the names of those that are mended, see `chosen`. Where the
package cannot be edited, a fault names the variants of the reference that are wrong alike (`Fault.alike`): with these
in the reference, what the fault does goes away as if it were mended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import ClassVar, TypeVar

from parity.errors import UsageError

OPTION = "patch"
ALL, BUT = "all", "all-"


class Kind(StrEnum):
    """What a fault is."""

    BUG = "bug"
    DELIBERATE = "deliberate"
    NUMERICS = "numerics"
    UNREACHABLE = "not reachable with published checkpoints"


class Needed(StrEnum):
    """What cannot be done before a fault is mended."""

    LOAD = "to load"
    COMPARE = "to compare"


@dataclass(frozen=True)
class Inputs:
    """What a candidate is run with.

    Attributes:
        scenario: name of the reference's.
        media: names of sample files that go before the prompt.
        refused: part of the message with which the package refuses them; empty where it takes them.
    """

    scenario: str
    media: tuple[str, ...] = ()
    refused: str = ""

    @property
    def given(self) -> Inputs:
        """What is run, whatever becomes of it."""
        return replace(self, refused="")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What a package does otherwise than the reference.

    Attributes:
        name: what users call it.
        wrong: what the package does, and what the reference does.
        kind: what it is: ``deliberate`` is a difference by design, ``numerics`` right but less exact.
        reached: the runs and checkpoints that it shows in.
        steps: where it is introduced, ``*`` for any text.
        inputs: in which it shows with all others mended; None where the harness has none.
        dtypes: arithmetics in which it shows there; none for all.
        proof: the test that proves it where no inputs show it alone.
        needed: what cannot be done before it is mended; None where it only shows.
    """

    name: str
    wrong: str = ""
    kind: Kind = Kind.BUG
    reached: str = ""
    steps: tuple[str, ...] = ()
    inputs: Inputs | None = None
    dtypes: tuple[str, ...] = ()
    proof: str = ""
    needed: Needed | None = None
    copied: ClassVar[bool] = False
    """Whether the reference is edited to be wrong alike, and the package stays as it is."""

    def where(self) -> tuple[str, ...]:
        """Places in the installed source, each ``file:line``; imports the package."""
        return ()

    def alike(self, inputs: Inputs) -> tuple[str, ...]:
        """Variants of the reference that, in every place, are wrong alike; none where the package is mended."""
        return ()

    def shows_in(self, dtype: str) -> bool:
        """Whether its inputs show it in that arithmetic."""
        return not self.dtypes or dtype in self.dtypes

    def explains(self, step: str) -> bool:
        """Whether it is introduced at that step."""
        return any(fnmatchcase(step, pattern) for pattern in self.steps)


@dataclass(frozen=True)
class Subject:
    """What a backend declares of its package for an audit.

    Attributes:
        faults: all that are known.
        media: inputs with pictures and sounds, run besides every scenario of text.
        about: how it is run, and what was found right: Markdown.
    """

    faults: tuple[Fault, ...]
    media: tuple[Inputs, ...] = ()
    about: str = ""

    @property
    def copied(self) -> bool:
        """Whether the reference is edited in place of the package."""
        return any(fault.copied for fault in self.faults)

    @property
    def digest(self) -> str:
        """Short hash of all that is declared: an audit is of these faults and no others."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]

    def needed(self, *purposes: Needed) -> str:
        """The option's value that mends what is needed for these purposes."""
        return "+".join(fault.name for fault in self.faults if fault.needed in purposes)


Named = TypeVar("Named", bound=Fault)


def chosen(backend: str, faults: Sequence[Named], names: str) -> tuple[Named, ...]:
    """The faults of a backend that a user asks to mend; none for no text.

    Args:
        backend: for the message.
        faults: all that there are.
        names: ``NAME``, several with ``+`` between, ``all``, or ``all-NAME`` for all but that (or those).

    Raises:
        UsageError: for an unknown name.
    """
    if names == ALL:
        return tuple(faults)
    named = _named(backend, faults, names.removeprefix(BUT))
    return tuple(fault for fault in faults if (fault in named) != names.startswith(BUT))


def _named(backend: str, faults: Iterable[Named], names: str) -> list[Named]:
    known = {fault.name: fault for fault in faults}
    wanted = [name for name in names.split("+") if name]
    if unknown := [name for name in wanted if name not in known]:
        raise UsageError(f"{backend} has no {OPTION} {unknown[0]!r}; it has {', '.join(known)} and {ALL}")
    return [known[name] for name in wanted]
