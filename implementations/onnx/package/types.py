"""The number formats in which a package is published, by the names that its users know; no framework is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

INTEGER = "float32-onnx-int8"
"""The arithmetic in which each product with a weight takes its other factor in 8 bits, with one scale for all of it."""
BLOCKS = "float32-onnx-int8-blocks"
"""The same with a scale for every 32 channels of a token, as products with weights of 4 bits have it on request."""


@dataclass(frozen=True)
class GraphType:
    """A number format of all graphs of a package.

    Attributes:
        suffixes: what names of its files may end in; the first is written.
        dtype: the arithmetic that it computes in on a processor.
        meaning: one line.
    """

    suffixes: tuple[str, ...]
    dtype: str
    meaning: str


TYPES: Mapping[str, GraphType] = {
    "fp32": GraphType(("",), "float32", "float32, as the checkpoint's own export is"),
    "fp16": GraphType(("_fp16",), "float16", "float16 but for angles and the statistics of norms"),
    "q4": GraphType(("_q4",), "float32", "matrices of 4 bits with a scale for 32 numbers, tables of 8 bits"),
    "q4f16": GraphType(("_q4f16",), "float16", "matrices of 4 bits as in q4, all else as in fp16"),
    "int8": GraphType(("_quantized", "_int8"), INTEGER, "matrices and tables of 8 bits with a sign, products too"),
    "uint8": GraphType(("_uint8",), INTEGER, "matrices and tables of 8 bits without a sign, products too"),
}
FLOAT32 = "fp32"
