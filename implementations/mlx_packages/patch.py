"""A fault of a package, proven by an edit in memory with which the divergence goes away."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from parity.fault import Fault
from parity.site import Edit
from parity.weave import resolve


@dataclass(frozen=True, kw_only=True)
class Patch(Fault):
    """A fault and its cure.

    Attributes:
        edits: the cure.
    """

    edits: tuple[Edit, ...]

    def where(self) -> tuple[str, ...]:
        """Lines of the installed source that the edits change, each ``file:line``."""
        return tuple(_place(edit) for edit in self.edits)


def _place(edit: Edit) -> str:
    function = resolve(edit.function)
    lines, first = inspect.getsourcelines(function)
    before = textwrap.dedent("".join(lines)).partition(edit.old)[0]
    return f"{function.__module__.replace('.', '/')}.py:{first + before.count(chr(10))}"


def edits_of(patches: Iterable[Patch]) -> list[Edit]:
    """What has to be in force for all of them."""
    return [edit for patch in patches for edit in patch.edits]
