"""Large tensors of a graph, which are in files beside it: where they are, whether all of each is there, and reading."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from parity.errors import UsageError

LONGEST = 18
"""Digits of a place in a file: so many are below 2^63, which is what file systems count to."""


@dataclass(frozen=True)
class Stretch:
    """Where a tensor is.

    Attributes:
        file: beside the graph.
        begin: its first byte.
        length: bytes.
    """

    file: Path
    begin: int
    length: int


def require_whole(model: ModelProto, file: Path) -> None:
    """Check that the tensors of a graph which are in other files are there.

    Args:
        model: without them.
        file: of the graph.

    Raises:
        UsageError: for a file that is missing, a link, cut off or outside the package, or a tensor of another size, of
            unknown numbers or at no place.
    """
    for tensor in _stored_outside(model):
        try:
            found = stretch_of(tensor, file.parent)
            _require_length(tensor, found)
        except ValueError as error:
            raise UsageError(f"package file {file}: tensor {tensor.name!r} {error}; export it again") from error
        _require_there(found, file)


def array_of(tensor: TensorProto, folder: Path) -> NDArray[Any]:
    """The numbers of a tensor, one that `require_whole` has looked at if it is in a file of this folder."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return numpy_helper.to_array(tensor)
    found = stretch_of(tensor, folder)
    with found.file.open("rb") as stream:  # ONNX's own reader takes no file that has a second name, as copies may be
        stream.seek(found.begin)
        raw = stream.read(found.length)
    return numpy_helper.to_array(TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=raw))


def stretch_of(tensor: TensorProto, folder: Path) -> Stretch:
    """Where a tensor is that is in a file of that folder.

    Raises:
        ValueError: for a place that is no whole number.
    """
    told = {entry.key: entry.value for entry in tensor.external_data}
    for key in ("offset", "length"):
        value = told.setdefault(key, "0" if key == "offset" else "")
        if not (value.isascii() and value.isdigit() and len(value) <= LONGEST):
            raise ValueError(f"has the {key} {value[:LONGEST]!r}, which is no whole number of bytes")
    return Stretch(folder / told.get("location", ""), int(told["offset"]), int(told["length"]))


def size_of(tensor: TensorProto) -> int:
    """Bytes of a tensor, however it is kept; numbers of four bits are two a byte.

    Raises:
        ValueError: for numbers that ONNX does not have, or that have no size, and for a shape that cannot be.
    """
    if any(size < 0 for size in tensor.dims):
        raise ValueError(f"has the shape {[*tensor.dims][:8]}")
    count = math.prod(tensor.dims)
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):
        return -(-count // 2)
    known = {*TensorProto.DataType.values()} - {TensorProto.UNDEFINED, TensorProto.STRING}
    if tensor.data_type not in known:
        raise ValueError(f"has numbers of type {tensor.data_type}, which is none that a file can hold")
    return int(count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _stored_outside(model: ModelProto) -> Iterator[TensorProto]:
    return (tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL)


def _require_length(tensor: TensorProto, found: Stretch) -> None:
    if found.length != (size := size_of(tensor)):
        raise ValueError(f"has {found.length} bytes for {size}")


def _require_there(found: Stretch, file: Path) -> None:
    data, end = found.file, found.begin + found.length
    if data.parent != file.parent or not data.is_file():
        raise UsageError(f"package file {file}: its tensors are in {data.name}, which is not there; fetch it again")
    if data.is_symlink():
        raise UsageError(
            f"package file {data} is a symbolic link, which ONNX Runtime does not follow; copy the package with "
            "`cp -rL` and give the copy"
        )
    if end > (there := data.stat().st_size):
        raise UsageError(f"package file {data} is cut off: {there} bytes of at least {end}; fetch it again")
