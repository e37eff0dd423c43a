"""The reference with taps woven in: turns what happens at a site into the contract's step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from parity.site import Heard, Site
from parity.tap import SILENT, Tap
from parity.variant import Variant
from parity.weave import weave
from reference.common.deviant import edits_of, marked
from reference.common.steps import StepAt

LAYER = re.compile(r"language_model\.layers\.(\d+)")
TOWER = re.compile(r"(?:vision_tower\.timm_model|audio_tower)\.(.+)")


class Woven:
    """Names the values of one model's sites.

    Args:
        model: its module tree tells which layer a module belongs to.
        steps: what is heard, and where.
        variants: known bugs that it has while it runs.
    """

    def __init__(self, model: nn.Module, steps: Iterable[StepAt], variants: Sequence[Variant] = ()) -> None:
        self._model = model
        self.variants = tuple(variants)
        self._places = {id(module): place_of(name) for name, module in model.named_modules()}
        self._steps: dict[Site, list[StepAt]] = {}
        for step in steps:
            self._steps.setdefault(step.site, []).append(step)

    @contextmanager
    def listening(self, tap: Tap) -> Iterator[None]:
        """Send every site's value through `tap` while the context is open, with the variants in force."""

        def handle(heard: Heard) -> Any:
            step = self._step(heard)
            place = self._places.get(id(heard.owner), {})
            if step.each:
                return {key: tap(step.name.format(key=key), item) for key, item in heard.value.items()}
            return tap(step.name.format(**place, **heard.used), heard.value)

        with (
            weave(() if tap is SILENT else self._steps, handle, edits_of(self.variants)),
            marked(self._model, self.variants),
        ):
            yield

    def _step(self, heard: Heard) -> StepAt:
        """The site's step; where several share a site, the one whose caller called."""
        steps = self._steps[heard.site]
        return steps[0] if len(steps) == 1 else next(step for step in steps if step.caller == heard.caller)


def place_of(module: str) -> dict[str, str]:
    """Where a module stands, from its name in the model: what the placeholders of a step's name stand for."""
    found = {"layer": LAYER.search(module), "path": TOWER.search(module)}
    return {name: match[1] for name, match in found.items() if match}
