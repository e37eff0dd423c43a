"""Places in Python source that is not ours, what is heard there, and deviations of the source: the words of weaving."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from parity.errors import BackendUnavailable


@dataclass(frozen=True)
class Assigned:
    """Behind the `occurrence`-th assignment to `variable`, in source order.

    Counted are ``x = ``, ``x: T = ``, ``x += ``, ``x[i] += `` and ``x, y = ``.
    """

    variable: str
    occurrence: int = 0


@dataclass(frozen=True)
class Passed:
    """The positional argument number `position` of a call of `callee` (as written, e.g. ``self.down_proj``).

    It is the `occurrence`-th call with so many arguments, in source order; of nested calls the inner one counts first.
    """

    callee: str
    position: int
    occurrence: int = 0


@dataclass(frozen=True)
class Parameter:
    """A parameter of the function, on entry."""

    variable: str


@dataclass(frozen=True)
class Returned:
    """Every value that the function returns."""


@dataclass(frozen=True)
class Site:
    """A place in a function.

    Attributes:
        function: ``package.module:Class.function``.
        target: which value there.
        uses: local variables whose values the handler needs besides the tensor (a loop index, a layer type).
    """

    function: str
    target: Assigned | Passed | Parameter | Returned
    uses: tuple[str, ...] = ()

    def __str__(self) -> str:
        function = self.function.partition(":")[2]
        match self.target:
            case Assigned(variable, occurrence):
                return f"{function}: {variable}" + (f" (assignment {occurrence + 1})" if occurrence else "")
            case Passed(callee, position, occurrence):
                place = f" (call {occurrence + 1})" if occurrence else ""
                return f"{function}: argument {position + 1} of {callee}{place}"
            case Parameter(variable):
                return f"{function}: parameter {variable}"
            case Returned():
                return f"{function}: returned value"


@dataclass(frozen=True)
class Edit:
    """A deviation of a function's source: the text `old`, which stands in it once, becomes `new`."""

    function: str
    old: str
    new: str

    def apply(self, source: str) -> str:
        """The source with the edit.

        Raises:
            BackendUnavailable: when `old` does not stand in the source exactly once.
        """
        if source.count(self.old) != 1:
            found = f"{source.count(self.old)} times"
            raise BackendUnavailable(f"{self.function} holds {self.old!r} {found} instead of once: the source changed")
        return source.replace(self.old, self.new)


@dataclass(frozen=True)
class Heard:
    """A value at a site, while the site's function runs.

    Attributes:
        site: the place.
        value: what is there.
        owner: the function's ``self``; where it has none, that of its caller, or None.
        caller: the name of the function that called it.
        used: the values of the local variables that the site `uses`.
    """

    site: Site
    value: Any
    owner: Any
    caller: str
    used: Mapping[str, Any]


Handler = Callable[[Heard], Any]
"""Its result replaces the value."""
