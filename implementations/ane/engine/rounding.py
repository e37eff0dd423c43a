"""Rounding to the Apple Neural Engine's fp16, of values that are carried in float32."""

from __future__ import annotations

import functools
import math

import torch

from implementations.ane.engine.limits import LIMIT

# What float32 can hold of eleven significant bits; the next such number would be 2**128, its infinity.
_LARGEST = (2.0 - 2.0**-10) * 2.0**127


def round_half(values: torch.Tensor, limit: float | None = LIMIT) -> torch.Tensor:
    """`values` to the nearest fp16 number, ties to even, subnormals included.

    Args:
        values: any shape, a floating-point dtype.
        limit: what lies beyond it after rounding becomes an infinity of its sign. None: nothing does; eleven
            significant bits are kept whatever the magnitude.

    Returns:
        A new float32 tensor of the same shape. NaN and infinities stay.
    """
    rounded = values.half().float()
    # One pass tells whether anything is beyond: the common case is done here. NaN compares false, and is looked at.
    if rounded.numel() == 0 or _within(rounded, 65504.0 if limit is None else limit):
        return rounded
    if limit is None:
        return torch.where(rounded.isinf(), _round_large(values.float()), rounded)
    beyond = torch.copysign(torch.full_like(rounded, math.inf), rounded)
    return torch.where(rounded.abs() > limit, beyond, rounded)


def dithered(values: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """`values` (any shape, float32) moved by up to half a step of fp16 to either side.

    Rounded to nearest then, each falls on one of its two neighbours, the likelier the nearer; fp16 numbers stay.
    """
    wide = values.float()
    _, exponent = torch.frexp(wide)
    step = torch.ldexp(torch.ones_like(wide), exponent.clamp(min=-13) - 11)  # subnormals are 2**-24 apart
    moved = wide + step * (torch.rand(wide.shape, generator=draw) - 0.5)
    return torch.where((wide == 0) | (wide.abs() > _LARGEST / 2), wide, moved)  # a mask holds float32's lowest number


def _within(values: torch.Tensor, limit: float) -> bool:
    low, high = torch.aminmax(values)
    return -limit <= low.item() and high.item() <= limit


def _round_large(values: torch.Tensor) -> torch.Tensor:
    """Float32 values beyond fp16's range to eleven significant bits; what is finite stays finite.

    An additive mask holds float32's lowest number: it must hide a key, and a row of infinities would be all NaN.
    """
    fraction, exponent = torch.frexp(values)
    rounded = torch.ldexp(2 * fraction.half().float(), exponent - 1)  # 2**128 would overflow, 2 * 2**127 does below
    return torch.where(values.isfinite(), rounded.clamp(-_LARGEST, _LARGEST), values)


@functools.lru_cache(maxsize=4096)
def round_number(value: float, limit: float | None = LIMIT) -> float:
    """A Python number to the nearest fp16 number: constants are fp16 too."""
    return round_half(torch.tensor(value, dtype=torch.float64), limit).item()
