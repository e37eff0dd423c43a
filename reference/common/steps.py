"""How a step is written down: its name, axes and meaning, and the site where the reference computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from parity.contract import Step, StepKind
from parity.site import Site

LayerTest = Callable[[Any, int], bool]
"""Whether a layer has the step: ``test(text_config, layer)``."""


def every(config: Any, layer: int) -> bool:
    """Every layer has the step."""
    return True


@dataclass(frozen=True)
class StepAt:
    """A step, or a family of steps, and its site.

    Attributes:
        name: with placeholders: ``{layer}``, the text layer that owns the site; ``{path}``, the owning module inside
            its tower; or a local variable of the site.
        axes: separated by spaces.
        meaning: one line.
        site: where the reference computes it.
        each: the value is a mapping and each of its keys is a step of its own, placeholder ``{key}``.
        only: which layers have it.
        caller: the function that must have called the site's function; empty for any.
        needs: what a chunk must hold for the step to occur, as in `parity.contract.Step`.
    """

    name: str
    axes: str
    meaning: str
    site: Site
    kind: StepKind = "float"
    paper: str = ""
    each: bool = False
    only: LayerTest = every
    caller: str = ""
    needs: str = ""

    def step(self, **fields: object) -> Step:
        """The member of the family that has these values for its placeholders."""
        return Step(
            name=self.name.format(**fields),
            axes=tuple(self.axes.split()),
            kind=self.kind,
            meaning=self.meaning.format(**fields),
            source=str(self.site),
            paper=self.paper,
            needs=self.needs,
        )
