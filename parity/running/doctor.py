"""Is everything in place? Each backend is examined in a worker, in the environment that it runs in."""

from __future__ import annotations

from collections.abc import Iterator

from parity.discovery import BACKENDS, REFERENCES, available
from parity.errors import ParityError
from parity.running.party import Party
from parity.running.progress import Silent

Finding = tuple[str, bool, str, str]
"""Section, whether it is good, what was looked at, and what was found or how to cure it."""


def health(backends: tuple[str, ...]) -> Iterator[Finding]:
    """Findings on the installed references and on `backends` (none named: all that are installed)."""
    references = tuple(available(REFERENCES))
    others = tuple(name for name in available() if name not in references)
    for group, names in ((REFERENCES, references), (BACKENDS, backends or others)):
        for name in names:
            yield from _examine(name, group)


def _examine(name: str, group: str) -> Iterator[Finding]:
    try:
        with Party(name, name, group=group, progress=Silent()) as party:
            for good, what, found in party.call("doctor", backend=name, group=group):
                yield name, good, what, found
    except ParityError as error:
        yield name, False, "worker", str(error)
