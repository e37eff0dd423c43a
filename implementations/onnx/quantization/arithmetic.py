"""Products with factors of 8 bits, as ONNX Runtime computes them where weights are quantised.

The runtime rounds the factor that is no weight to 8 bits when it computes, adds exact products of integers, and scales
the sum. So here that factor is rounded to the numbers which its 8 bits stand for, and the product is float32's, whose
own rounding is a hundred thousand times finer. Weights are what they are: those that the quantised ones stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from implementations.onnx.quantization.integers import BLOCK
from parity.arithmetic import Switched

Rounding = Callable[[Tensor], Tensor]
"""To the nearest integer, or to one of the two around."""


class Int8(Switched):
    """Float32 whose products with weights take their other factor in 8 bits.

    Args:
        quantized: the numbers that a tensor's 8 bits stand for; how they are rounded is given to it.
    """

    weights = storage = "float32"

    def __init__(self, quantized: Callable[[Tensor, Rounding], Tensor]) -> None:
        self._quantized = quantized
        self._round: Rounding = torch.round

    @contextmanager
    def running(self) -> Iterator[None]:
        """Products with weights round their other factor."""
        with self.being(True), _Products(self):
            yield

    @contextmanager
    def by_chance(self, seed: int) -> Iterator[None]:
        """Factors are rounded up or down by chance."""
        draw = torch.Generator().manual_seed(seed)
        before, self._round = self._round, lambda x: torch.floor(x + torch.rand(x.shape, generator=draw))
        try:
            yield
        finally:
            self._round = before

    def rounded(self, tensor: Any) -> Any:
        """The tensor as it is: nothing is held in 8 bits."""
        return tensor

    def factor(self, x: Tensor) -> Tensor:
        """What a product with a weight takes of `x`, any shape, float32."""
        return self._quantized(x, self._round) if self.active and x.is_floating_point() else x


def integer() -> Int8:
    """One scale and one zero for all of the factor: ONNX's `DynamicQuantizeLinear`."""
    return Int8(per_tensor)


def blocks() -> Int8:
    """A scale for every 32 numbers along the sum, as `MatMulNBits` has it at accuracy level 4."""
    return Int8(per_block)


def per_tensor(x: Tensor, rounding: Rounding = torch.round) -> Tensor:
    """`x`, any shape, as unsigned bits of one scale hold it; zero is exact."""
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = (high - low) / 255
    if not scale:
        return x
    zero = torch.round(-low / scale).clamp(0, 255)
    return ((rounding(x / scale) + zero).clamp(0, 255) - zero) * scale


def per_block(x: Tensor, rounding: Rounding = torch.round) -> Tensor:
    """`x`, ``[..., channel]``, as bits with a sign hold it; the last block may be shorter."""
    width = x.shape[-1]
    parts = functional.pad(x, (0, -width % BLOCK)).unflatten(-1, (-1, BLOCK))
    scale = parts.abs().amax(-1, keepdim=True) / 127
    held = rounding(parts / scale.where(scale > 0, 1)) * scale
    return held.flatten(-2)[..., :width]


class _Products(TorchFunctionMode):
    """Rounds what is multiplied by a weight."""

    def __init__(self, arithmetic: Int8) -> None:
        super().__init__()
        self._arithmetic = arithmetic

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is functional.linear:
            args = (self._arithmetic.factor(args[0]), *args[1:])
        return func(*args, **(kwargs or {}))
