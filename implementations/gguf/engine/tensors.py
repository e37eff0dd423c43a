"""Values of llama.cpp's nodes as the recorder takes them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parity.backend import Place, Tensors
from parity.contract import Step


class Value:
    """What a node holds, in the contract's axes."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array


class Placed(Protocol):
    """What is computed, of what a chunk has."""

    def place(self, axes: tuple[str, ...], step: str) -> dict[str, slice]:
        """Which part of the chunk's tensor a value is, along the axes of which it is not all."""

    def lengths(self, axes: tuple[str, ...], step: str) -> dict[str, int]:
        """How long the chunk's tensor is along these axes."""


class GraphTensors(Tensors):
    """Values of nodes as NumPy's.

    Attributes:
        layout: of the part, or the picture, that is computed; None outside, and where it is all of its chunk.
    """

    layout: Placed | None = None

    def to_numpy(self, value: Value | NDArray[Any], step: Step | None) -> NDArray[Any]:
        """The array."""
        return value.array if isinstance(value, Value) else value

    def fits(self, value: Value, shape: tuple[int, ...], step: Step | None) -> bool:
        """Compare in the contract's axes."""
        return value.array.shape == shape

    def from_numpy(self, array: NDArray[Any], like: Value, step: Step | None) -> Value:
        """A copy in the number format of `like`."""
        return Value(np.array(array, dtype=like.array.dtype))

    def whole(self, step: Step | None, shape: tuple[int, ...]) -> tuple[int, ...]:
        """As long as the chunk itself, which may have other tokens than the oracle's."""
        if self.layout is None or step is None:
            return shape
        lengths = self.layout.lengths(step.axes, step.name)
        return tuple(lengths.get(axis, size) for axis, size in zip(step.axes, shape, strict=True))

    def place(self, step: Step | None, shape: tuple[int, ...]) -> Place | None:
        """The tokens, and the keys that these see, where a chunk is computed in parts."""
        if self.layout is None or step is None:
            return None
        ranges = self.layout.place(step.axes, step.name)
        return tuple(ranges.get(axis, slice(0, size)) for axis, size in zip(step.axes, shape, strict=True))
