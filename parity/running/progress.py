"""What a long run tells of itself: which party does what, and the step that it reached."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Listener of a run. Parties run in threads of their own, so every method may be called from any thread."""

    def start(self, party: str, total: int, what: str) -> None:
        """`party` begins to do `what` (``loading``, ``prefill``, ``free run``): `total` steps, 0 where unknown."""
        ...

    def step(self, party: str, name: str) -> None:
        """`party` reached the step `name`."""
        ...

    def done(self, party: str) -> None:
        """`party` finished what it had started last."""
        ...


class Silent:
    """Listens and shows nothing."""

    def start(self, party: str, total: int, what: str) -> None:
        """Ignore the beginning."""

    def step(self, party: str, name: str) -> None:
        """Ignore a step."""

    def done(self, party: str) -> None:
        """Ignore the end."""
