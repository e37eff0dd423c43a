"""What a party of a table does with each value: the places of the table are steps, or, to learn, all places are."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Literal

from parity.errors import UsageError
from parity.learning.layout import Rearrangement
from parity.learning.listening import Hear
from parity.learning.table import LearnedTable
from parity.learning.values import FEWEST, MOST
from parity.tap import Tap

ANY = "*"
"""In place of a table, where there is none yet: every place is a step."""
MEANING = "the learned table that says which places are steps, see docs/any-model.md; *: all places are"


@dataclass(frozen=True)
class Lesson:
    """A scenario that a table is learned of.

    Attributes:
        rows: of the batch.
        tokens: of each row, drawn; a decode step follows.
    """

    rows: int
    tokens: int


LESSONS: Mapping[str, Lesson] = {
    "learn-short": Lesson(2, 11),
    "learn-long": Lesson(3, 17),
}
"""By the scenario's name. No rows or tokens are the size of another axis of a drawn checkpoint: sizes name axes."""

Side = Literal["reference", "candidate"]


class Taps:
    """The places of one side.

    Args:
        table: a file, or `ANY`.
        side: whose places these are.
        modules: those that are woven, whose source must be the table's.
        draft: whether all other places, and those of the table under their own names, are told as well; steps then have
            the reference's own axes.
    """

    def __init__(self, table: str, side: Side, modules: Sequence[ModuleType], *, draft: bool = False) -> None:
        self._tells_all = draft or table == ANY
        self.table = None if table == ANY else LearnedTable.read(Path(table))
        self._steps: dict[str, tuple[str, Rearrangement]] = {}
        if self.table is not None:
            party = self.table.reference if side == "reference" else self.table.candidate
            party.require(digests(modules), table)
            for row in self.table.members():
                places = (row.reference,) if side == "reference" else row.candidate
                layout = row.layout if draft else row.shown[side == "candidate"]
                self._steps |= dict.fromkeys(places, (row.name, layout))

    def hear(self, tap: Tap, sizes: Mapping[str, int]) -> Hear:
        """What a listener calls: values of the table's places go through `tap` in the step's axes.

        Args:
            tap: where steps are emitted.
            sizes: of axes, by name: those of the configuration, and ``batch`` and ``token`` of this chunk.
        """

        def hear(place: str, value: Any) -> Any:
            if self._tells_all:
                value = _told(tap, place, value)
            if place not in self._steps:
                return value
            name, layout = self._steps[place]
            return _through(tap, name, value, layout, sizes)

        return hear


def _told(tap: Tap, place: str, value: Any) -> Any:
    """Every value that a computation can be known by."""
    size = 1
    for along in value.shape:
        size *= along
    return tap(place, value) if FEWEST <= size <= MOST else value


def _through(tap: Tap, name: str, value: Any, layout: Rearrangement, sizes: Mapping[str, int]) -> Any:
    """What a side goes on with: its own value, the very same, where the tap answers with what it was shown."""
    if layout.candidate == layout.reference:
        return tap(name, value)
    try:
        bound = layout.bound(value.shape, sizes)
    except UsageError:
        return tap(name, value)  # of another shape than any that was learned: the judge says that
    shown = bound.out(value)
    answer = tap(name, shown)
    return value if answer is shown else bound.back(answer)


def digests(modules: Sequence[ModuleType]) -> dict[str, str]:
    """A digest of the source of each module."""
    files = {module.__name__: Path(str(module.__file__)) for module in modules}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for name, file in sorted(files.items())}


def modules_of(
    classes: Sequence[type], package: str | tuple[str, ...], without: Sequence[str] = ()
) -> list[ModuleType]:
    """The modules of a package that compute a model: those of its own modules' classes, and what these call.

    Args:
        classes: of the model's modules, in the sense of its framework.
        package: what the names of modules begin with that may be woven.
        without: names of modules that may not, and beginnings of names, with a dot at their end.
    """
    names = dict.fromkeys(one.__module__ for one in classes)
    found: dict[str, ModuleType] = {}
    left = [name for name in names if name.startswith(package)]
    beginnings = tuple(name for name in without if name.endswith("."))
    while left:
        name = left.pop(0)
        if name not in found and name not in without and not name.startswith(beginnings):
            found[name] = sys.modules[name]
            left += _called_by(found[name], package)
    return list(found.values())


def _called_by(module: ModuleType, package: str | tuple[str, ...]) -> Iterator[str]:
    """Where the functions come from that a module imports by name."""
    for value in vars(module).values():
        home = getattr(value, "__module__", None)
        if isinstance(value, FunctionType) or _is_wrapper(value):
            yield from (home,) if isinstance(home, str) and home.startswith(package) and home in sys.modules else ()


def _is_wrapper(value: object) -> bool:
    """Whether it is a function that is not written in Python, as compilers make them."""
    return isinstance(value, Callable) and not isinstance(value, type)  # type: ignore[arg-type]
