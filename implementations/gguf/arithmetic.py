"""llama.cpp's arithmetic with weights of 16 bits: a product rounds both of its operands, and all else is float32.

ggml brings the other operand of a matrix into the matrix's number format, multiplies exactly, and adds in float32. Keys
and values are cached in float32, so attention's own products round nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from parity.arithmetic import Arithmetic

NARROW = 16
"""Matrices of rows so short are AltUp's coefficients, which stay in float32 in every file."""


class Operands(Arithmetic):
    """Products of operands in a format of 16 bits.

    Args:
        dtype: torch's name of the format.
    """

    weights = storage = "float32"

    def __init__(self, dtype: str) -> None:
        self._format: torch.dtype = getattr(torch, dtype)
        self._suspended = False

    def running(self) -> AbstractContextManager[Any]:
        """Operands of products are rounded, and rows that are looked up."""
        return _Rounding(self)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Nothing is rounded."""
        before, self._suspended = self._suspended, True
        try:
            yield
        finally:
            self._suspended = before

    def rounded(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor as it is: only an operand is rounded."""
        return tensor

    def operand(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor as a product takes it."""
        return tensor if self._suspended else tensor.to(self._format).to(tensor.dtype)


class _Rounding(TorchFunctionMode):
    def __init__(self, arithmetic: Operands) -> None:
        super().__init__()
        self._arithmetic = arithmetic

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is functional.linear and args[1].shape[-1] > NARROW:
            args = (*map(self._arithmetic.operand, args[:2]), *args[2:])
        found = func(*args, **(kwargs or {}))
        return self._arithmetic.operand(found) if func is functional.embedding else found


def bf16() -> Operands:
    """Of a file whose matrices are in bfloat16."""
    return Operands("bfloat16")


def f16() -> Operands:
    """Of a file whose matrices are in float16."""
    return Operands("float16")
