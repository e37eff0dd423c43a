"""A fault of a package, proven by an edit in memory with which the divergence goes away."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from parity.errors import UsageError
from parity.weave import Edit, resolve


@dataclass(frozen=True)
class Patch:
    """A fault and its cure.

    Attributes:
        name: what users call it.
        wrong: what the package does, and what the reference does.
        kind: ``bug``, ``deliberate`` (a difference by design), or ``numerics`` (right, but less exact).
        needs: the runs in which it shows.
        edits: the cure.
        steps: where it is introduced, ``*`` for any text.
    """

    name: str
    wrong: str
    kind: str
    needs: str
    edits: tuple[Edit, ...]
    steps: tuple[str, ...]

    @property
    def where(self) -> tuple[int, ...]:
        """Lines of the installed source that the edits change, each in its function's file."""
        return tuple(_line(edit) for edit in self.edits)


def _line(edit: Edit) -> int:
    lines, first = inspect.getsourcelines(resolve(edit.function))
    before = textwrap.dedent("".join(lines)).partition(edit.old)[0]
    return first + before.count("\n")


def edits_of(patches: Iterable[Patch]) -> list[Edit]:
    """What has to be in force for all of them."""
    return [edit for patch in patches for edit in patch.edits]


ALL, BUT = "all", "all-"


def chosen(package: str, patches: Sequence[Patch], names: str) -> tuple[Patch, ...]:
    """The patches of a package that a user asks for; none for no text.

    Args:
        package: for the message.
        patches: all that there are.
        names: ``NAME``, several with ``+`` between, ``all``, or ``all-NAME`` for all but that (or those).

    Raises:
        UsageError: for an unknown name.
    """
    if names == ALL:
        return tuple(patches)
    named = _named(package, patches, names.removeprefix(BUT))
    return tuple(patch for patch in patches if (patch in named) != names.startswith(BUT))


def _named(package: str, patches: Sequence[Patch], names: str) -> list[Patch]:
    known = {patch.name: patch for patch in patches}
    wanted = [name for name in names.split("+") if name]
    if unknown := [name for name in wanted if name not in known]:
        raise UsageError(f"{package} has no patch {unknown[0]!r}; it has {', '.join(known)} and {ALL}")
    return [known[name] for name in wanted]
