"""Rounding numbers to a file's types: what the package `gguf` has not, llama.cpp's own function does."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, quants
from numpy.typing import NDArray

from implementations.gguf.engine.library import Library, library

OF_LIBRARY = (GGMLQuantizationType.Q4_K, GGMLQuantizationType.Q6_K)
"""Types whose blocks the package `gguf` only reads."""
DECLARATION = """
size_t ggml_quantize_chunk(int type, const float * source, void * target, int64_t start, int64_t rows, int64_t columns,
                           const float * importance);
"""


def quantised(rows: NDArray[np.float32], kind: GGMLQuantizationType) -> NDArray[Any]:
    """The rows, rounded.

    Args:
        rows: ``[row, column]``; the columns fill blocks of the type.
        kind: the type.

    Returns:
        ``[row, byte]``, or of a plain format ``[row, column]``.

    Raises:
        BackendUnavailable: for a type of `OF_LIBRARY` where llama.cpp is not installed.
    """
    return by_library(rows, kind) if kind in OF_LIBRARY else quants.quantize(rows, kind)


def by_library(rows: NDArray[np.float32], kind: GGMLQuantizationType) -> NDArray[np.uint8]:
    """The rows' bytes, ``[row, byte]``, as llama.cpp rounds them; no number of a row is more important than another.

    Raises:
        BackendUnavailable: where llama.cpp is not installed.
    """
    llama, source = quantiser(), np.ascontiguousarray(rows, np.float32)
    target = np.empty(quants.quant_shape_to_byte_shape(rows.shape, kind), np.uint8)
    pointers = llama.ffi.from_buffer("float[]", source), llama.ffi.from_buffer("char[]", target, require_writable=True)
    written = llama.c.ggml_quantize_chunk(kind, *pointers, 0, *rows.shape, llama.ffi.NULL)
    assert written == target.nbytes, (written, target.nbytes)
    return target


@functools.cache  # a function is declared once
def quantiser() -> Library:
    """llama.cpp with the function that rounds rows.

    Raises:
        BackendUnavailable: where it is not installed.
    """
    llama = library()
    llama.ffi.cdef(DECLARATION)
    return llama
