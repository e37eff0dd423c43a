"""The two-way port that a forward pass speaks through.

``x = tap("out", x)`` records ``x`` and may hand another value back. Without a recorder the silent tap returns its
argument, so a forward pass is written once and runs as it is in production.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

Value = TypeVar("Value")

Ahead = NDArray[Any] | float
"""What is known of a tap's answer before the value: an array in the contract's axes, or the factor by which the value
itself is multiplied. `AS_IT_IS` where that goes on unchanged."""
AS_IT_IS = 1.0


class Tap(Protocol):
    """What a forward pass may call."""

    def __call__(self, name: str, value: Value) -> Value:
        """Record `value` as step `name` of this scope; go on with what is returned."""
        ...

    def into(self, scope: str) -> Tap:
        """The tap of a scope inside this one: ``tap.into("laurel")("out", x)`` is step ``laurel.out``."""
        ...

    def ahead(self, name: str) -> Ahead:
        """What will go on in place of the value of step `name` when that is recorded next.

        For a runtime that takes all its inputs before it computes anything, such as a compiled graph.
        """
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

    def ahead(self, name: str) -> Ahead:
        """Every value goes on as it is."""
        return AS_IT_IS


SILENT = SilentTap()

Hear = Callable[[], Tap]
"""What a generation loop asks before each forward pass: the tap of that pass."""


def silence() -> Tap:
    """The tap of a pass that nobody listens to."""
    return SILENT


class ScopedTap:
    """Puts its scope before each name and hands the value to `receive`.

    Args:
        receive: takes a step's name and value, and answers.
        prefix: the scope, with a dot behind it.
        ahead: what it will answer; of one who only listens, the value as it is.
    """

    __slots__ = ("_ahead", "_prefix", "_receive")

    def __init__(
        self,
        receive: Callable[[str, Any], Any],
        prefix: str = "",
        ahead: Callable[[str], Ahead] = lambda name: AS_IT_IS,
    ) -> None:
        self._receive, self._prefix, self._ahead = receive, prefix, ahead

    def __call__(self, name: str, value: Value) -> Value:
        """Record `value` under the scope's full name; go on with what the receiver returns."""
        result: Value = self._receive(self._prefix + name, value)
        return result

    def into(self, scope: str) -> ScopedTap:
        """The tap of `scope` inside this one."""
        return ScopedTap(self._receive, f"{self._prefix}{scope}.", self._ahead)

    def ahead(self, name: str) -> Ahead:
        """What the receiver says of the scope's full name."""
        return self._ahead(self._prefix + name)
