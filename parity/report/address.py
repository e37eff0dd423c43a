"""Where in the model a step is, read from its name: the tower, the layer, the part of the layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from parity.report.fold import split


@dataclass(frozen=True)
class Address:
    """``text.layers.3.altup.predict.out``: tower ``text``, layer 3 of ``text.layers``, part ``altup.predict``.

    Attributes:
        tower: the name's first part.
        scope: what the layers are layers of; empty outside of layers.
        layer: its number; None outside of layers.
        part: of the layer, or of the tower.
    """

    tower: str
    scope: str
    layer: int | None
    part: str


@lru_cache(maxsize=1 << 14)  # every part of a report asks again
def address_of(name: str) -> Address:
    """Where the step of that name is. A number is a layer's where a plural stands before it: layers, blocks, stages."""
    before, index, after = split(name)
    scope, tower = before.rstrip("."), name.partition(".")[0]
    if index is None or not scope.endswith("s"):
        return Address(tower, "", None, name.partition(".")[2].partition(".")[0] or tower)
    parts = after.strip(".").split(".")
    # what has a further level below it keeps two: predicting and correcting are far apart in time
    return Address(tower, scope, index, ".".join(parts[:2] if len(parts) > 2 else parts[:1]))
