"""Values of ggml's tensors as NumPy arrays, and back into the memory that they lie in."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from implementations.gguf.engine.library import Library
from parity.errors import BackendUnavailable

DTYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype("float32"),
    1: np.dtype("float16"),
    26: np.dtype("int32"),
    27: np.dtype("int64"),
    30: np.dtype(ml_dtypes.bfloat16),
}
"""NumPy's formats by ggml's numbers of them."""
Q8_0, BLOCK = 8, 32
"""ggml's number of the format of blocks of so many 8-bit integers, each block behind its scale in float16."""
QUANTISED = np.dtype([("scale", "float16"), ("values", "int8", (BLOCK,))])


class Memory:
    """A tensor's bytes, copied out whole and written back whole, for a view's values lie apart from each other.

    Args:
        library: llama.cpp.
        tensor: its node, or a view of another's; ggml counts axes from the fastest, so NumPy's are reversed.

    Raises:
        BackendUnavailable: for a number format that is not known here.
    """

    def __init__(self, library: Library, tensor: Any) -> None:
        self._library, self._tensor = library, tensor
        self._bytes = np.empty(library.c.ggml_nbytes(tensor), np.uint8)
        self._pointer = library.ffi.from_buffer(self._bytes)
        library.c.ggml_backend_tensor_get(tensor, self._pointer, 0, len(self._bytes))

    @property
    def values(self) -> NDArray[Any]:
        """The values, ``ne`` reversed; a copy in float32 where they are quantised, else the bytes themselves."""
        raw = self._raw()
        if raw.dtype != QUANTISED:
            return raw
        wide = raw["values"].astype(np.float32) * raw["scale"][..., None].astype(np.float32)
        return wide.reshape(*raw.shape[:-1], -1)

    def write(self, values: NDArray[Any]) -> None:
        """Put values of the tensor's shape in place of its own, rounded to its number format."""
        raw = self._raw()
        if raw.dtype == QUANTISED:
            blocks = values.reshape(*raw.shape, BLOCK)
            scale = np.abs(blocks).max(-1) / np.float32(127)
            inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
            raw["scale"], raw["values"] = scale, np.rint(blocks * inverse[..., None])
        else:
            raw[...] = values
        self._library.c.ggml_backend_tensor_set(self._tensor, self._pointer, 0, len(self._bytes))

    def _raw(self) -> NDArray[Any]:
        """The bytes as the tensor's own elements, in its strides."""
        shape, strides = [*self._tensor.ne][::-1], [*self._tensor.nb][::-1]
        if self._tensor.type == Q8_0:
            return np.ndarray((*shape[:-1], shape[-1] // BLOCK), QUANTISED, self._bytes, strides=strides)
        if (dtype := DTYPES.get(self._tensor.type)) is None:
            name = self._library.text(self._library.c.ggml_type_name(self._tensor.type))
            raise BackendUnavailable(f"llama.cpp has values of type {name}, which cannot be read here")
        return np.ndarray(shape, dtype, self._bytes, strides=strides)
