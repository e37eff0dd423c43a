"""The header of a GGUF file, whoever wrote it: each length and count is held against what is left of the file.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType, quants
from numpy.typing import NDArray

from implementations.gguf.convert.parts import NUMBERS
from parity.errors import UsageError

MAGIC, VERSIONS, AXES, ALIGNMENT = b"GGUF", (2, 3), 4, "general.alignment"
SCALARS = {
    GGUFValueType.UINT8: "B", GGUFValueType.INT8: "b", GGUFValueType.UINT16: "H", GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I", GGUFValueType.INT32: "i", GGUFValueType.FLOAT32: "f", GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "Q", GGUFValueType.INT64: "q", GGUFValueType.FLOAT64: "d",
}  # fmt: skip
"""How each type of value is packed."""


@dataclass(frozen=True)
class Kept:
    """A tensor of a file.

    Attributes:
        shape: as NumPy has it: the file lists the axes the other way round.
        raw: its bytes, ``[row, byte]``.
    """

    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    raw: NDArray[np.uint8]

    def numbers(self) -> Iterator[NDArray[np.float32]]:
        """What it stands for, some rows at a time: ``[row, column]``."""
        step = max(1, NUMBERS // self.shape[-1])
        for first in range(0, len(self.raw), step):
            yield quants.dequantize(self.raw[first : first + step], self.kind)


@dataclass(frozen=True)
class Header:
    """What a file says: values by their keys, and tensors by their names."""

    values: dict[str, Any]
    tensors: dict[str, Kept]


def read(file: Path) -> Header:
    """Read a file's header; tensors stay where they are until they are looked at.

    Raises:
        UsageError: for no GGUF file, or one that is damaged or cut off.
    """
    try:
        with file.open("rb") as opened:
            content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        return _Reader(content).header()
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise UsageError(f"{file} is no GGUF file that can be read: {error}") from error


class _Reader:
    """Goes through a header once; a ValueError says what cannot be."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content, self._at = content, 0

    def header(self) -> Header:
        if self._take(4) != MAGIC:
            raise ValueError(f"it does not begin with {MAGIC.decode()}")
        if (version := self._number("I")) not in VERSIONS:
            raise ValueError(f"it is of version {version}, {VERSIONS[-1]} is known")
        tensors, keys = self._count(8 + 4 + 4 + 8), self._count(8 + 4)
        values = {self._text(): self._value(self._kind()) for _ in range(keys)}
        told = [self._told() for _ in range(tensors)]
        begin = self._aligned(values.get(ALIGNMENT, 32))
        found = {name: self._kept(name, shape, kind, begin + place) for name, shape, kind, place in told}
        if len(found) < len(told):
            raise ValueError("two tensors have the same name")
        return Header(values, found)

    def _told(self) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int]:
        """Name, shape, type and place of a tensor."""
        name, axes = self._text(), self._number("I")
        if not 0 < axes <= AXES:
            raise ValueError(f"tensor {name!r} has {axes:,} axes")
        shape = tuple(self._number("Q") for _ in range(axes))[::-1]
        return name, shape, GGMLQuantizationType(self._number("I")), self._number("Q")

    def _kept(self, name: str, shape: tuple[int, ...], kind: GGMLQuantizationType, begin: int) -> Kept:
        rows, width = math.prod(shape[:-1]), quants.quant_shape_to_byte_shape(shape[-1:], kind)[0]
        if not rows * width or begin + rows * width > len(self._content):
            raise ValueError(f"tensor {name!r} of {'x'.join(map(str, shape))} numbers is not within it")
        raw = np.frombuffer(self._content, np.uint8, rows * width, begin)
        return Kept(shape, kind, raw.reshape(rows, width))

    def _value(self, kind: GGUFValueType) -> Any:
        if kind == GGUFValueType.STRING:
            return self._text()
        if kind != GGUFValueType.ARRAY:
            return self._number(SCALARS[kind])
        inner = self._kind()
        if inner == GGUFValueType.ARRAY:
            raise ValueError("it has a list of lists")
        if inner == GGUFValueType.STRING:
            return [self._text() for _ in range(self._count(8))]
        return list(struct.unpack(form := f"<{self._count(struct.calcsize(SCALARS[inner]))}{SCALARS[inner]}",
                                  self._take(struct.calcsize(form))))  # fmt: skip

    def _kind(self) -> GGUFValueType:
        return GGUFValueType(self._number("I"))

    def _text(self) -> str:
        return self._take(self._number("Q")).decode()

    def _count(self, least: int) -> int:
        """A number of things that have so many bytes at the least."""
        if (count := self._number("Q")) > (len(self._content) - self._at) // least:
            raise ValueError(f"it says that {count:,} things follow, more than there are bytes")
        return count

    def _number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self._take(struct.calcsize(f"<{form}")))[0]

    def _take(self, count: int) -> bytes:
        if count > len(self._content) - self._at:
            raise ValueError("it is cut off")
        self._at += count
        return self._content[self._at - count : self._at]

    def _aligned(self, alignment: Any) -> int:
        """Where the numbers begin."""
        if not isinstance(alignment, int) or not 0 < alignment <= mmap.PAGESIZE:
            raise ValueError(f"{ALIGNMENT} is {alignment!r}")
        return -(-self._at // alignment) * alignment
