"""Weights that a package holds in fewer bits, as the numbers that they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from implementations.coreml.interpreter.inputs import Given
from implementations.coreml.package.palettes import unpacked


def lut_to_dense(given: Given) -> Tensor:
    """Places in palettes as what is there; each block of a tensor has a palette of its own.

    Args:
        given: `indices` of any shape, and `lut` with an axis for each of theirs, which has as many palettes as there
            are blocks, then the palette, then 1. Or, before iOS 18, one palette `lut` of all, with packed `indices`.
    """
    if "shape" in given.values:
        lut, shape = given.tensor("lut"), given.numbers("shape")
        packed = given.tensor("indices").to(torch.uint8)
        return lut[unpacked(packed, len(lut), math.prod(shape)).long()].reshape(shape)
    places, palettes = given.tensor("indices").long(), given.tensor("lut")
    if palettes.dim() != places.dim() + 2 or palettes.shape[-1] != 1:
        raise ValueError(f"palettes {[*palettes.shape]} of places {[*places.shape]}")
    index = []
    for axis, (size, blocks) in enumerate(zip(places.shape, palettes.shape[:-2], strict=True)):
        along = torch.arange(size) // (size // blocks)
        index.append(along.reshape([-1 if one == axis else 1 for one in range(places.dim())]))
    return palettes[(*index, places, torch.zeros_like(places))]


def dequantize(given: Given) -> Tensor:
    """``scale * (data - zero_point)`` before iOS 18; both are one number, or one for each place along an axis."""
    data = given.tensor("quantized_data").float()
    form = [1] * data.dim()
    form[int(given.number("axis"))] = -1
    scale, zero = (given.tensor(name).float().reshape(form) for name in ("scale", "zero_point"))
    return scale * (data - zero)


def blocks(given: Given) -> int:
    """Of how many parts along the first axis each has a palette or scale of its own."""
    if "axis" in given.values:
        return 1 if given.number("axis") else given.tensor("scale").numel()
    if "lut" in given.values:
        return 1 if "shape" in given.values else len(given.tensor("lut"))
    return len(given.tensor("scale"))


def shift_scale(given: Given) -> Tensor:
    """``scale * (data - offset)``; each block of a tensor has a scale and an offset of its own."""
    data, scale, offset = given.tensor("data").float(), given.tensor("scale"), given.optional("offset")
    if offset is not None:
        data = data - spread(offset.float(), data)
    return data * spread(scale, data)


def spread(parts: Tensor, data: Tensor) -> Tensor:
    """What each block of `data` has, for each of its numbers."""
    for axis, size in enumerate(data.shape):
        if size % parts.shape[axis]:
            raise ValueError(f"blocks {[*parts.shape]} of {[*data.shape]}")
        parts = parts.repeat_interleave(size // parts.shape[axis], dim=axis)
    return parts


OPERATIONS: dict[str, Callable[[Given], Tensor]] = {
    "constexpr_affine_dequantize": dequantize,
    "constexpr_blockwise_shift_scale": shift_scale,
    "constexpr_lut_to_dense": lut_to_dense,
}
