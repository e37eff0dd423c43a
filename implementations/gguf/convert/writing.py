"""Writing a GGUF file a few rows at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
from gguf import GGUFWriter

from implementations.gguf.convert.parts import Tensor
from implementations.gguf.convert.quantise import quantised
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
    for tensor in tensors:  # their names, axes and types stand in the header, before the numbers of any
        unread = np.dtype(np.float32)
        writer.add_tensor_info(tensor.name, tensor.shape, unread, tensor.nbytes, raw_dtype=tensor.kind)
    try:
        _require_room(file, sum(tensor.nbytes for tensor in tensors))
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


def _require_room(file: Path, size: int) -> None:
    """Refuse, before the work, what the disk has no room for."""
    if (free := shutil.disk_usage(file.parent).free) < size:
        raise CannotWrite(f"{file} takes {size / 1e9:,.2f} GB, of which its disk has {free / 1e9:,.2f}; make room")


def _fill(writer: GGUFWriter, stream: IO[bytes], tensors: Iterable[Tensor], told: Told) -> None:
    writer.write_padding(stream, stream.tell())
    for tensor in tensors:
        told(tensor.name)
        for block in tensor.blocks():
            stream.write(quantised(block, tensor.kind).data)
        writer.write_padding(stream, stream.tell())


def _close(writer: GGUFWriter) -> None:
    """Close the file; what is still buffered for a full disk is lost, and was told of already."""
    with suppress(OSError):
        writer.close()
