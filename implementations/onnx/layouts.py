"""Tensors of packages of others in the contract's axes, and back: a tap that speaks of them so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from implementations.onnx.package.folder import Package
from parity.errors import UsageError
from parity.learning.layout import Rearrangement
from parity.tap import Ahead, ScopedTap, Tap

Layouts = Mapping[str, Rearrangement]
"""The axes of a step's tensor and its own, by the step's name; of those that are not as they are."""


def layouts_of(package: Package) -> Layouts:
    """The layouts that a package's table says."""
    told = (one for steps in package.steps.values() for one in steps if one.layout)
    return {one.step: Rearrangement.parse(one.layout) for one in told}


def in_layouts(tap: Tap, layouts: Layouts, sizes: Mapping[str, int]) -> Tap:
    """A tap that is told steps' values in their own axes, and whose answers go on in the tensors'.

    Args:
        tap: what is told.
        layouts: of steps.
        sizes: of axes, by name.
    """

    def receive(step: str, value: Any) -> Any:
        if (shown := _shown(step, value)) is value:
            return tap(step, value)
        answer = tap(step, shown)
        return value if answer is shown else _back(step, answer)

    def ahead(step: str) -> Ahead:
        known = tap.ahead(step)
        return known if isinstance(known, float) or step not in layouts else _back(step, known)

    def _shown(step: str, value: Any) -> Any:
        """A tensor in the step's axes; as it is where it cannot be, which is seen by its shape."""
        try:
            return layouts[step].bound(value.shape, sizes).out(value) if step in layouts else value
        except UsageError:
            return value

    def _back(step: str, value: Any) -> Any:
        inverse = Rearrangement(layouts[step].reference, layouts[step].candidate)
        return inverse.bound(value.shape, sizes).out(value)

    return ScopedTap(receive, ahead=ahead)
