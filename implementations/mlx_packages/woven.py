"""An installed package with taps woven in: turns what happens at a site into the contract's step.

Functions that `mx.compile` compiled run as the Python that they were made from while the taps are in: a compiled
function runs its Python once, to record the operations, and would call no tap afterwards.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module

from implementations.mlx_packages.at import At
from parity.site import Edit, Heard, Site
from parity.tap import SILENT, Tap
from parity.weave import weave

PlaceOf = Callable[[str, Module], Mapping[str, str]]
"""Where a module stands, from its name in the model: what the placeholders of a step's name stand for."""


class Woven:
    """Names the values of one model's sites.

    Args:
        model: its module tree tells where a module stands.
        steps: what is heard, and where.
        place_of: names the place of a module.
        edits: changes of the source that are in force while it runs.
    """

    def __init__(self, model: Module, steps: Iterable[At], place_of: PlaceOf, edits: Sequence[Edit] = ()) -> None:
        self._edits = tuple(edits)
        modules = model.named_modules()  # type: ignore[no-untyped-call]  # MLX leaves it unannotated
        self._places = {id(module): place_of(name, module) for name, module in modules}
        self._steps: dict[Site, list[At]] = {}
        for step in steps:
            self._steps.setdefault(step.site, []).append(step)

    @contextmanager
    def listening(self, tap: Tap) -> Iterator[None]:
        """Send every site's value through `tap` while the context is open, with the edits in force."""

        def handle(heard: Heard) -> Any:
            value = heard.value
            place = {**heard.used, **self._places.get(id(heard.owner), {})}
            for step in self._steps[heard.site]:
                if _is_there(step, place, heard.caller):
                    value = _through(tap, step, step.name.format(**place), value, heard.used)
            return value

        if tap is SILENT and not self._edits:
            yield
            return
        with weave(() if tap is SILENT else self._steps, handle, self._edits), as_python():
            yield


def _is_there(step: At, place: Mapping[str, Any], caller: str) -> bool:
    """Whether the value that is heard at the step's site now is the step's."""
    named = {name for _, name, _, _ in string.Formatter().parse(step.name) if name}
    return named <= place.keys() and step.caller in ("", caller) and not (step.first and place["i"])


def _through(tap: Tap, step: At, name: str, value: Any, used: Mapping[str, Any]) -> Any:
    """What the package goes on with: its own value, the very same, where the tap answers with what it was shown."""
    shown = step.view.out(value, used)
    answer = tap(name, shown)
    return value if answer is shown else step.view.back(answer, value, used)


@contextmanager
def as_python() -> Iterator[None]:
    """Without `mx.compile`: a compiled function runs its Python once, and would call no tap afterwards."""
    mx.disable_compile()
    try:
        yield
    finally:
        mx.enable_compile()
