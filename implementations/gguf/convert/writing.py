"""Writing a GGUF file a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
from gguf import GGUFWriter, quants

from implementations.gguf.convert.parts import Tensor
from parity.errors import CannotWrite

Told = Callable[[str], None]
"""Told which tensor is written next."""


def write_file(writer: GGUFWriter, file: Path, tensors: Iterable[Tensor], told: Told) -> None:
    """Write header and tensors.

    Args:
        writer: holds the header's keys.
        file: where to.
        tensors: in their order in the file.
        told: told each tensor's name.

    Raises:
        CannotWrite: where there is no room or no leave.
    """
    tensors = list(tensors)
    for tensor in tensors:
        _announce(writer, tensor)
    try:
        writer.write_header_to_file(file)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        assert writer.fout is not None
        (stream,) = writer.fout
        _fill(writer, stream, tensors, told)
        stream.flush()
    except OSError as error:
        raise CannotWrite(f"{file} cannot be written: {error.strerror or error}") from error
    finally:
        _close(writer)


def _announce(writer: GGUFWriter, tensor: Tensor) -> None:
    """Name, axes, type and bytes of a tensor stand in the header, before the numbers of any."""
    size = np.prod(quants.quant_shape_to_byte_shape(tensor.shape, tensor.kind), dtype=np.int64)
    writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), int(size), raw_dtype=tensor.kind)


def _fill(writer: GGUFWriter, stream: IO[bytes], tensors: Iterable[Tensor], told: Told) -> None:
    writer.write_padding(stream, stream.tell())
    for tensor in tensors:
        told(tensor.name)
        for block in tensor.blocks():
            stream.write(quants.quantize(block, tensor.kind).data)
        writer.write_padding(stream, stream.tell())


def _close(writer: GGUFWriter) -> None:
    """Close the file; what is still buffered for a full disk is lost, and was told of already."""
    with suppress(OSError):
        writer.close()
