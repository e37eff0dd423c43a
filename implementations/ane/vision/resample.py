"""Changing a map's height and width, ``[image, channel, height, width]``, by operations of fixed sizes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from implementations.ane.vision.convolution import sides

Size = tuple[int, int]


def doubled(x: Tensor, size: Size) -> Tensor:
    """The nearest neighbours of a map of `size` in one that a convolution of stride 2 made of it.

    That has ``ceil(size / 2)`` rows, of which row r takes ``floor(r * ceil(size / 2) / size) = floor(r / 2)``, the
    odd sizes too: so every pixel is doubled, and an odd map cut. No gather, which the engine would hand to the CPU.
    """
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")[:, :, : size[0], : size[1]]


def shrunk(x: Tensor, side: int) -> Tensor:
    """The map at ``side x side``: means of equal tiles, or, where sides do not divide, linear between centres."""
    height, width = sides(x)
    if (height, width) == (side, side):
        return x
    if height % side or width % side:
        return linear(height, side) @ x @ linear(width, side).T
    # One operation: summed first, a tile of large values would overflow float16.
    return functional.avg_pool2d(x, (height // side, width // side))


def linear(count: int, side: int) -> Tensor:
    """Weights of a linear interpolation of `count` pixels at `side` places, ``[side, count]``.

    They are constants of the program, computed in float64. No filter widens when shrinking.
    """
    places = np.clip((np.arange(side) + 0.5) * count / side - 0.5, 0, count - 1)
    weights = np.maximum(1 - np.abs(places[:, None] - np.arange(count)), 0)
    return torch.tensor(weights.astype(np.float32))
