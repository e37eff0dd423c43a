"""Which goldens there are to be, of which checkpoint, and where they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from parity.entries import make
from parity.errors import UsageError
from parity.media import Part
from parity.names import require_name

GOLDENS = "parity.goldens"
EMBEDDED = "tiny"


@dataclass(frozen=True)
class Entry:
    """One golden.

    Attributes:
        name: of the golden, e.g. ``decode`` or ``image.decode``; it names a folder.
        scenario: of the reference.
        prompt: the text; None for the lightest debugging case.
        media: pictures and sounds before it.

    Raises:
        UsageError: for a name that may not be a file's.
    """

    name: str
    scenario: str
    prompt: str | None
    media: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        require_name("a golden", self.name)


@dataclass(frozen=True)
class GoldenSet:
    """A set of goldens.

    Attributes:
        folder: where they are kept.
        entries: what they are made from, in the order of reports.
        model: the checkpoint, as `parity.checkpoint.find_checkpoint` takes it; None for the embedded one.
        reference: the backend that is true; None for the installed one of the checkpoint's type of model.
        dtypes: arithmetics whose floors are measured; none for all that the reference has.
        steps: digest of the reference's table of steps. It is known without the reference's framework, so that a
            golden of older steps is recognised where that is not installed; empty where there is no such table.
        renew: the command that renews the set; ``{only}`` stands for the option that names single goldens.
    """

    folder: Path
    entries: tuple[Entry, ...]
    model: str | None = None
    reference: str | None = None
    dtypes: tuple[str, ...] = ()
    steps: str = ""
    renew: str = "parity golden update{only}"

    def select(self, names: tuple[str, ...]) -> tuple[Entry, ...]:
        """The entries of those names; all of them for none.

        Raises:
            UsageError: for a name that no entry has.
        """
        known = {entry.name: entry for entry in self.entries}
        if unknown := [name for name in names if name not in known]:
            raise UsageError(f"unknown golden {unknown[0]!r}; there are {', '.join(known)}")
        return tuple(known[name] for name in names) or self.entries

    def command(self, names: tuple[str, ...] = ()) -> str:
        """What to type to renew goldens; all of them for no name."""
        return self.renew.format(only=f" --only {','.join(names)}" if names else "")


def find_set(name: str = EMBEDDED) -> GoldenSet:
    """The installed set of goldens of that name; its entry point is a function that makes it.

    Raises:
        UsageError: for an unknown name, or a target that makes no set.
    """
    return make(name, GOLDENS, "set of goldens", GoldenSet)
