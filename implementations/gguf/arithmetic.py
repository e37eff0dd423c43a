"""llama.cpp's arithmetics of weights in fewer bits: a product rounds both of its operands, and all else is float32.

ggml brings the other operand of a matrix into a number format that suits the matrix's, multiplies exactly, and adds in
float32. Keys and values are cached in float32, so attention's own products round nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from gguf import GGMLQuantizationType, quants
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from parity.arithmetic import Switched

BLOCK = 32
"""Numbers of a row that have a scale together."""
LANGUAGE = ("language_model.", "lm_head.")
"""Whose matrices a file's type is of."""
COEFFICIENTS = ("prediction_coefs", "correction_coefs")
SMALL = ("altup", "laurel", "per_layer_model_projection")
"""Parts of names of matrices that stay in float32: those of few numbers, and beside blocks all small ones."""


class Products(Switched):
    """Products of rounded operands; torch's tensors are float32.

    Args:
        kept: parts of names of matrices that are not rounded.
    """

    weights = storage = "float32"

    def __init__(self, kept: Sequence[str]) -> None:
        self._kept = kept
        self._met: dict[int, torch.Tensor] = {}

    def meet(self, parameters: Iterable[tuple[str, Any]]) -> None:
        """Those of the language model are rounded, each when it is used."""
        for name, weight in parameters:
            if any(part in name for part in LANGUAGE) and not any(part in name for part in self._kept):
                self._met[id(weight)] = weight  # as long as it is here, no other has its number

    @contextmanager
    def running(self) -> Iterator[None]:
        """Operands of products are rounded, and rows that are looked up."""
        with self.being(True), _Rounding(self):
            yield

    def rounded(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor as it is: only an operand is rounded."""
        return tensor

    def rounds(self, weight: torch.Tensor) -> bool:
        """Whether a matrix, or a table, is rounded where it is used now."""
        return self.active and id(weight) in self._met

    @abstractmethod
    def matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """A matrix ``[row column]``, or some rows of it, as the file has it."""

    @abstractmethod
    def operand(self, x: torch.Tensor) -> torch.Tensor:
        """What is multiplied by a matrix, ``[... column]``, as the product takes it."""


class Halves(Products):
    """Both operands in a format of 16 bits.

    Args:
        dtype: torch's name of the format.
    """

    def __init__(self, dtype: str) -> None:
        super().__init__(COEFFICIENTS)
        self._format: torch.dtype = getattr(torch, dtype)

    def matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """Each number is rounded."""
        return self.operand(weight)

    def operand(self, x: torch.Tensor) -> torch.Tensor:
        """Each number is rounded."""
        return x.to(self._format).to(x.dtype)


class Blocks(Products):
    """Matrices in blocks, what they are multiplied by in blocks of 8-bit integers.

    Args:
        kind: of the matrices.
    """

    def __init__(self, kind: GGMLQuantizationType) -> None:
        super().__init__(SMALL)
        self._kind = kind
        self._rounded: dict[int, torch.Tensor] = {}

    def rounds(self, weight: torch.Tensor) -> bool:
        """Rows that do not fill blocks stay in float32."""
        return super().rounds(weight) and weight.shape[-1] % BLOCK == 0

    def matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """As the file's writer rounds it; what is a model's is kept so."""
        if (found := self._rounded.get(id(weight))) is None:
            rows = quants.quantize(weight.detach().reshape(-1, weight.shape[-1]).numpy(), self._kind)
            found = torch.from_numpy(quants.dequantize(rows, self._kind)).reshape(weight.shape)
            if id(weight) in self._met:
                self._rounded[id(weight)] = found
        return found

    def operand(self, x: torch.Tensor) -> torch.Tensor:
        """Integers of up to 127 times a scale, which is in float16, but not yet where the integers are made."""
        blocks = x.unflatten(-1, (-1, BLOCK))
        scale = blocks.abs().amax(-1, keepdim=True) / 127
        integers = (blocks * torch.where(scale > 0, 1 / scale, 0)).round()
        return (integers * scale.half().float()).flatten(-2)


class _Rounding(TorchFunctionMode):
    def __init__(self, arithmetic: Products) -> None:
        super().__init__()
        self._arithmetic = arithmetic

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is functional.linear and self._arithmetic.rounds(args[1]):
            args = (self._arithmetic.operand(args[0]), self._arithmetic.matrix(args[1]), *args[2:])
        found = func(*args, **(kwargs or {}))
        looked_up = func is functional.embedding and self._arithmetic.rounds(args[1])
        return self._arithmetic.matrix(found) if looked_up else found


def bf16() -> Products:
    """Of a file whose matrices are in bfloat16."""
    return Halves("bfloat16")


def f16() -> Products:
    """Of a file whose matrices are in float16."""
    return Halves("float16")


def q8_0() -> Products:
    """Of a file whose matrices are in blocks of 8-bit integers."""
    return Blocks(GGMLQuantizationType.Q8_0)


def q4_0() -> Products:
    """Of a file whose matrices are in blocks of 4-bit integers."""
    return Blocks(GGMLQuantizationType.Q4_0)
