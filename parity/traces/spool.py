"""Tensors on their way to a file: on the disk as they come, so that memory holds one buffer of them at most."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from parity.safetensors_header import FORMATS, header_of

BUFFER = 64 * 2**20
"""Bytes that stay in memory. A phase of text is smaller, and is written in one go."""
PIECE = 2**20
"""Bytes that are copied at a time."""
_FORMAT_OF = {dtype: name for name, dtype in FORMATS.items()}


class _Part(NamedTuple):
    """Where a tensor lies in the spool."""

    format: str
    shape: tuple[int, ...]
    begin: int
    size: int


class Spool:
    """Collects the tensors of one safetensors file.

    The format's header comes first and says where each tensor lies, which is known when the last one is there. So what
    memory does not hold waits in a file without a name, and is copied behind the header by the system.

    Args:
        folder: where that file takes its room.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, NDArray[Any]] = {}
        self._size = 0
        self._parts: dict[str, _Part] = {}
        self._file: IO[bytes] | None = None

    def __bool__(self) -> bool:
        return bool(self._held or self._parts)

    def add(self, name: str, array: NDArray[Any]) -> None:
        """Take a tensor, which nobody changes any more.

        Raises:
            OSError: where there is no room.
        """
        self._held[name] = array
        self._size += array.nbytes
        if self._size > BUFFER:
            self._flush()

    def write(self, path: Path) -> None:
        """Write all of them to a file, and begin anew.

        Raises:
            OSError, SafetensorError: where there is no room.
        """
        if self._file is None:
            save_file(self._held, path)
            self._held, self._size = {}, 0
            return
        self._flush()
        # Behind wider numbers, narrower ones lie at a multiple of their own size: readers may map them as they are.
        ordered = sorted(self._parts.items(), key=lambda item: (-FORMATS[item[1].format].itemsize, item[0]))
        with self._file as spooled, path.open("wb") as file:
            file.write(header_of({name: (part.format, part.shape) for name, part in ordered}))
            for _, part in ordered:
                spooled.seek(part.begin)
                _copy(spooled, file, part.size)
        self._file, self._parts = None, {}

    def _flush(self) -> None:
        """Move what is held to the disk."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - `write` closes it, or its end
        for name, array in self._held.items():
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            begin = self._file.seek(0, 2)
            self._file.write(little.reshape(-1).view(np.uint8).data)
            self._parts[name] = _Part(_FORMAT_OF[little.dtype], array.shape, begin, array.nbytes)
        self._held, self._size = {}, 0


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    """Copy so many bytes, a piece at a time."""
    while size:
        piece = source.read(min(size, PIECE))
        target.write(piece)
        size -= len(piece)
