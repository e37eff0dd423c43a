"""llama.cpp's arithmetics of weights in fewer bits: a product rounds both of its operands, and all else is float32.

ggml brings the other operand of a matrix into a number format that suits the matrix's, multiplies exactly, and adds in
float32. Keys and values are cached in float32, so attention's own products round nothing.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from gguf import MODEL_ARCH, GGMLQuantizationType, get_tensor_name_map, quants
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from implementations.gguf.convert.kinds import kind_of
from implementations.gguf.convert.quantise import OF_LIBRARY, quantised
from parity.arithmetic import Switched
from parity.weights.names import text_alone

BLOCK, SUPERBLOCK = 32, 256
"""Numbers of a row that have a scale together."""
LAYER = re.compile(r"\blayers\.(\d+)\.")
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
    def matrix(self, weight: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """A matrix ``[row column]``, or some rows of it, as the file has it."""

    @abstractmethod
    def operand(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """What is multiplied by a matrix, ``[... column]``, as the product takes it."""


class Halves(Products):
    """Both operands in a format of 16 bits.

    Args:
        dtype: torch's name of the format.
    """

    def __init__(self, dtype: str) -> None:
        super().__init__(COEFFICIENTS)
        self._format: torch.dtype = getattr(torch, dtype)

    def matrix(self, weight: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Each number is rounded."""
        return self.operand(weight if rows is None else rows, weight)

    def operand(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Each number is rounded."""
        return x.to(self._format).to(x.dtype)


class Blocks(Products):
    """Matrices in blocks, what they are multiplied by in blocks of 8-bit integers.

    Args:
        kind: of the file; it says which type each matrix has.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(SMALL)
        self._kind = kind_of(kind)
        self._types: dict[int, GGMLQuantizationType] = {}
        self._rounded: dict[int, torch.Tensor] = {}

    def meet(self, parameters: Iterable[tuple[str, Any]]) -> None:
        """Each has its type by its name in the file, and by the number of layers."""
        named = [(name, weight) for name, weight in parameters if weight.ndim > 1]
        super().meet(named)
        layers = 1 + max((int(found[1]) for name, _ in named if (found := LAYER.search(name))), default=0)
        for name, weight in named:
            if id(weight) in self._met:
                self._types[id(weight)] = self._kind.of(called(name, layers), weight.shape, layers)

    def rounds(self, weight: torch.Tensor) -> bool:
        """Rows that do not fill blocks stay in float32."""
        return super().rounds(weight) and self._types[id(weight)] != GGMLQuantizationType.F32

    def matrix(self, weight: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """As the file's writer rounds it; what is whole is kept so."""
        if rows is not None:
            return self._read(rows, self._types[id(weight)])
        if (found := self._rounded.get(id(weight))) is None:
            found = self._rounded[id(weight)] = self._read(weight.detach(), self._types[id(weight)])
        return found

    def operand(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Integers of up to 127, in blocks of 256 where the matrix has superblocks."""
        return of_superblocks(x) if self._types[id(weight)] in OF_LIBRARY else of_blocks(x)

    def _read(self, rows: torch.Tensor, kind: GGMLQuantizationType) -> torch.Tensor:
        """What rows are read as that were rounded to a type."""
        rounded = quantised(rows.reshape(-1, rows.shape[-1]).numpy(), kind)
        return torch.from_numpy(quants.dequantize(rounded, kind)).reshape(rows.shape)


class Operands(Products):
    """Weights as they are, for they were read of a file; what a matrix of blocks is multiplied by, in integers."""

    def __init__(self) -> None:
        super().__init__(())

    def meet(self, parameters: Iterable[tuple[str, Any]]) -> None:
        """Every matrix whose rows fill blocks, of any model."""
        self._met |= {
            id(weight): weight for _, weight in parameters if weight.ndim > 1 and weight.shape[-1] % BLOCK == 0
        }

    def matrix(self, weight: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """As it is."""
        return weight if rows is None else rows

    def operand(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Integers of up to 127, in blocks of 32."""
        return of_blocks(x)


def called(name: str, layers: int) -> str:
    """What a matrix of the checkpoint is called in a file."""
    bare = text_alone(name.partition(LANGUAGE[0])[2] or name).removesuffix(".weight")
    found: str = get_tensor_name_map(MODEL_ARCH.GEMMA3N, layers)[bare]
    return f"{found}.weight"


def of_blocks(x: torch.Tensor) -> torch.Tensor:
    """Blocks of 32 times a scale, which is in float16, but not yet where the integers are made."""
    blocks = x.unflatten(-1, (-1, BLOCK))
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    integers = (blocks * torch.where(scale > 0, 1 / scale, 0)).round()
    return (integers * scale.half().float()).flatten(-2)


def of_superblocks(x: torch.Tensor) -> torch.Tensor:
    """Blocks of 256 times a scale in float32, by which the largest number is -127."""
    blocks = x.unflatten(-1, (-1, SUPERBLOCK))
    most = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    inverse = torch.where(most == 0, 0, -127 / most)
    integers = (blocks * inverse).round().clamp(max=127)
    return (integers * torch.where(most == 0, 0, 1 / inverse)).flatten(-2)


class _Rounding(TorchFunctionMode):
    def __init__(self, arithmetic: Products) -> None:
        super().__init__()
        self._arithmetic = arithmetic

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is functional.linear and self._arithmetic.rounds(args[1]):
            args = (self._arithmetic.operand(args[0], args[1]), self._arithmetic.matrix(args[1]), *args[2:])
        found = func(*args, **(kwargs or {}))
        looked_up = func is functional.embedding and self._arithmetic.rounds(args[1])
        return self._arithmetic.matrix(args[1], found) if looked_up else found


def bf16() -> Products:
    """Of a file whose matrices are in bfloat16."""
    return Halves("bfloat16")


def f16() -> Products:
    """Of a file whose matrices are in float16."""
    return Halves("float16")


def q8_0() -> Products:
    """Of a file whose matrices are in blocks of 8-bit integers."""
    return Blocks("q8_0")


def q4_0() -> Products:
    """Of a file whose matrices are in blocks of 4-bit integers."""
    return Blocks("q4_0")


def q4_k_m() -> Products:
    """Of a file that mixes superblocks of 4-bit integers with those of 6 bits."""
    return Blocks("q4_k_m")


def of_file() -> Products:
    """Of a checkpoint that was read of a file whose matrices are in blocks of 32: q4_0, q4_1, q5_0, q5_1 or q8_0."""
    return Operands()
