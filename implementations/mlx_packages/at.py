"""A step of the contract, and the place in a package's source that computes it."""

from __future__ import annotations

from dataclasses import dataclass

from implementations.mlx_packages.views import PLAIN, View
from parity.site import Assigned, Parameter, Passed, Returned, Site

LINEAR = Site("mlx.nn.layers.linear:Linear.__call__", Returned())
QUANTIZED = Site("mlx.nn.layers.quantized:QuantizedLinear.__call__", Returned())


@dataclass(frozen=True)
class At:
    """A step, or a family of steps, at a site.

    Attributes:
        name: with placeholders for where the owner is in the model, as the package's `place_of` names it
            (``{layer}``), or for a local variable of the site. An owner that is elsewhere does not have the step.
        site: where the value is.
        view: what the value is in the contract's form, and back.
        caller: the function that must have called the site's function; empty for any.
        first: whether only the first pass of a loop over layers has the step.
    """

    name: str
    site: Site
    view: View = PLAIN
    caller: str = ""
    first: bool = False


@dataclass(frozen=True)
class Module:
    """A module of Python source, e.g. ``mlx_lm.models.gemma3n``."""

    name: str

    def assigned(self, function: str, variable: str, occurrence: int = 0, *uses: str) -> Site:
        """Site behind an assignment."""
        return Site(f"{self.name}:{function}", Assigned(variable, occurrence), uses)

    def passed(self, function: str, callee: str, position: int, occurrence: int = 0, *uses: str) -> Site:
        """Site at an argument of a call."""
        return Site(f"{self.name}:{function}", Passed(callee, position, occurrence), uses)

    def parameter(self, function: str, variable: str) -> Site:
        """Site at a parameter."""
        return Site(f"{self.name}:{function}", Parameter(variable))

    def returned(self, function: str) -> Site:
        """Site at a function's returned value."""
        return Site(f"{self.name}:{function}", Returned())
