"""What the towers' values are in the contract's form, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from implementations.mlx_packages.views import View

Locals = Mapping[str, Any]


@dataclass(frozen=True)
class Axes(View):
    """Axes in another order.

    Attributes:
        order: which axis of the package's stands at each that is shown, before the layout that MLX's tensors have.
    """

    order: tuple[int, ...]

    def out(self, value: mx.array, used: Locals) -> mx.array:
        """In the order that is shown."""
        return mx.transpose(value, self.order)

    def back(self, answer: mx.array, value: mx.array, used: Locals) -> mx.array:
        """In the package's order."""
        return mx.transpose(answer, [self.order.index(axis) for axis in range(len(self.order))])


class Inverted(View):
    """A mask that is True where the contract's is False."""

    def out(self, value: mx.array, used: Locals) -> mx.array:
        """The contract's."""
        return mx.logical_not(value)

    def back(self, answer: mx.array, value: mx.array, used: Locals) -> mx.array:
        """The package's."""
        return mx.logical_not(answer)


class Headless(View):
    """A mask with an axis of one for all heads."""

    def out(self, value: mx.array, used: Locals) -> mx.array:
        """Without that axis."""
        return mx.squeeze(value, 1)

    def back(self, answer: mx.array, value: mx.array, used: Locals) -> mx.array:
        """With it."""
        return mx.expand_dims(answer, 1)


class First(View):
    """The first of several values that a function returns."""

    def out(self, value: tuple[mx.array, ...], used: Locals) -> mx.array:
        """The first."""
        return mx.array(value[0])

    def back(self, answer: mx.array, value: tuple[mx.array, ...], used: Locals) -> tuple[mx.array, ...]:
        """All of them, the first replaced."""
        return (answer, *value[1:])


class Clips(View):
    """A list of waveforms, for one array that has them padded with zeros to the longest."""

    def out(self, value: list[NDArray[np.float32]], used: Locals) -> NDArray[np.float32]:
        """``[clip, sample]``."""
        longest = max(len(clip) for clip in value)
        return np.stack([np.pad(clip, (0, longest - len(clip))) for clip in value])

    def back(
        self, answer: NDArray[np.float32], value: list[NDArray[np.float32]], used: Locals
    ) -> list[NDArray[np.float32]]:
        """Each clip at its length."""
        return [whole[: len(clip)] for whole, clip in zip(answer, value, strict=True)]


CHANNELS_LAST, COLUMNS_FIRST, COLUMNS_LAST = Axes((0, 2, 3, 1)), Axes((0, 2, 1, 3)), Axes((0, 3, 2, 1))
INVERTED, HEADLESS, FIRST, CLIPS = Inverted(), Headless(), First(), Clips()
