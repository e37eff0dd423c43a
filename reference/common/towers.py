"""Towers that need not run: where only steps of other parts are looked at, their last output stands for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

Forward = Callable[..., Any]
Shapes = tuple[tuple[int, ...], ...]


class Towers:
    """The towers of a model, by the scope of their steps.

    A probe in lockstep replaces whatever comes behind a tower by the oracle's values, so that of its output the shape
    alone matters; a run of the text's layers would otherwise pay twice its own time for picture and sound.

    Args:
        modules: the towers, by scope, e.g. ``vision``.
    """

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self._modules = modules
        self._outputs: dict[tuple[str, Shapes], Any] = {}

    @contextmanager
    def only(self, steps: Collection[str]) -> Iterator[None]:
        """Run with those towers silent that none of the steps is of; with no steps all run, and are remembered."""
        for scope, module in self._modules.items():
            silent = bool(steps) and not any(step.startswith(f"{scope}.") for step in steps)
            module.forward = (self._instead if silent else self._kept)(scope, module.forward)
        try:
            yield
        finally:
            for module in self._modules.values():
                del module.forward  # the class's own again

    def _kept(self, scope: str, run: Forward) -> Forward:
        def forward(*given: Any, **named: Any) -> Any:
            output = self._outputs[scope, _shapes(given, named)] = run(*given, **named)
            return output

        return forward

    def _instead(self, scope: str, run: Forward) -> Forward:
        def forward(*given: Any, **named: Any) -> Any:
            key = scope, _shapes(given, named)
            return self._outputs[key] if key in self._outputs else run(*given, **named)

        return forward


def _shapes(given: Any, named: dict[str, Any]) -> Shapes:
    values = (*given, *named.values())
    return tuple(tuple(value.shape) for value in values if hasattr(value, "shape"))
