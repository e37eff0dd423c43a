"""The two-way port that a forward pass speaks through.

``x = tap("out", x)`` records ``x`` and may hand another value back. Without a recorder the silent tap returns its
argument, so a forward pass is written once and runs as it is in production.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

Value = TypeVar("Value")


class Tap(Protocol):
    """What a forward pass may call."""

    def __call__(self, name: str, value: Value) -> Value:
        """Record `value` as step `name` of this scope; go on with what is returned."""
        ...

    def into(self, scope: str) -> Tap:
        """The tap of a scope inside this one: ``tap.into("laurel")("out", x)`` is step ``laurel.out``."""
        ...


class SilentTap:
    """Records nothing: returns its argument and itself."""

    __slots__ = ()

    def __call__(self, name: str, value: Value) -> Value:
        """Hand `value` back unchanged."""
        return value

    def into(self, scope: str) -> SilentTap:
        """Itself: a silent tap has no scope."""
        return self


SILENT = SilentTap()

Hear = Callable[[], Tap]
"""What a generation loop asks before each forward pass: the tap of that pass."""


def silence() -> Tap:
    """The tap of a pass that nobody listens to."""
    return SILENT


class ScopedTap:
    """Puts its scope before each name and hands the value to `receive`."""

    __slots__ = ("_prefix", "_receive")

    def __init__(self, receive: Callable[[str, Any], Any], prefix: str = "") -> None:
        self._receive = receive
        self._prefix = prefix

    def __call__(self, name: str, value: Value) -> Value:
        """Record `value` under the scope's full name; go on with what the receiver returns."""
        result: Value = self._receive(self._prefix + name, value)
        return result

    def into(self, scope: str) -> ScopedTap:
        """The tap of `scope` inside this one."""
        return ScopedTap(self._receive, f"{self._prefix}{scope}.")
