"""The tensors in files that other tools wrote, which are untrusted: nothing in them is run, and sizes are bounded.

Only names and shapes are read at first; numbers are when they are asked for.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from parity.errors import UsageError
from parity.safetensors_header import FORMATS, read_header
from parity.weights.written import METADATA, Mapped, Written

SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")
MOST = 2**24
"""Numbers of a tensor: the logits of 100 tokens of a vocabulary of 160,000."""
TENSORS = 100_000
"""Of a dump: 64 decode steps of a model that has 1,500 steps."""
_NUMBERS = re.compile(r"(\d{1,9})")


@dataclass(frozen=True)
class Dumped:
    """A tensor of a dump.

    Attributes:
        name: its file's, and its own in that.
        shape: of its axes.
        read: gives its numbers.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], NDArray[Any]]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def is_dump(path: Path) -> bool:
    """Whether a path is of another tool's files, and no trace."""
    if path.is_dir():
        return not (path / "manifest.json").exists() and next(_files(path), None) is not None
    return path.suffix in SUFFIXES


def tensors_of_dump(path: Path) -> list[Dumped]:
    """Every tensor of real numbers in a file, or in the files of a folder and of those in it, in the order of names.

    Raises:
        UsageError: for a file that cannot be read, or too many tensors.
    """
    found: list[Dumped] = []
    for file in sorted(_files(path), key=_order) if path.is_dir() else [path]:
        above = ".".join(file.relative_to(path).with_suffix("").parts) if path.is_dir() else ""
        found += [_named(above, tensor) for tensor in _read(file)]
        if len(found) > TENSORS:
            raise UsageError(f"dump {path} has more than {TENSORS:,} tensors; leave steps or layers out")
    if not found:
        raise UsageError(f"dump {path} has no tensor of real numbers of at most {MOST:,}; see docs/dumps.md")
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Files of the kinds that are known; links to folders are not followed."""
    for above, _, names in os.walk(folder):
        yield from (Path(above, name) for name in names if name.endswith(SUFFIXES) and Path(above, name).is_file())


def _order(file: Path) -> list[tuple[int, str]]:
    """By name, numbers by their size: ``pass2`` before ``pass10``."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in _NUMBERS.split(str(file))]


def _named(above: str, tensor: Dumped) -> Dumped:
    return Dumped(".".join(filter(None, (above, tensor.name))) or "tensor", tensor.shape, tensor.read)


def _read(file: Path) -> list[Dumped]:
    readers = {".npy": _numpy, ".npz": _numpy_archive, ".safetensors": _safetensors}
    if not file.is_file():
        raise UsageError(f"dump {file}: no such file, or no regular one")
    try:
        if file.suffix in readers:
            return [*readers[file.suffix](file)]
        from parity.dumps.torch_file import read_torch

        return [*read_torch(file, MOST)]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"dump {file} cannot be read: {reason}; write it again") from error


def _safetensors(file: Path) -> Iterator[Dumped]:
    for name, entry in read_header(file).items():
        shape = tuple(entry["shape"]) if name != METADATA else ()
        if name != METADATA and _is_real(FORMATS.get(entry["dtype"])) and math.prod(shape) <= MOST:
            tensor = Written(Mapped(file), name, shape, entry["dtype"], entry["data_offsets"][0])
            yield Dumped(name, shape, tensor.read)


def _numpy(file: Path) -> Iterator[Dumped]:
    yield from _array("", file.stat().st_size, lambda: file.open("rb"))


def _numpy_archive(file: Path) -> Iterator[Dumped]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    for member in members:
        if member.filename.endswith(".npy"):
            opened = partial(_member, file, member.filename)
            yield from _array(member.filename.removesuffix(".npy"), member.file_size, opened)


def _member(file: Path, name: str) -> IO[bytes]:
    return zipfile.ZipFile(file).open(name)


def _array(name: str, size: int, opened: Callable[[], IO[bytes]]) -> Iterator[Dumped]:
    """An array in NumPy's format, of so many bytes with its header; nothing for what is no real numbers."""
    with opened() as stream:
        version = np.lib.format.read_magic(stream)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in header:
            raise ValueError(f"NumPy's format {version[0]}.{version[1]} is not of numbers")
        shape, is_fortran, dtype = header[version](stream)
        begin = stream.tell()
    if dtype == np.dtype("V2"):  # what NumPy makes of ml_dtypes' bfloat16, which it does not know
        dtype = np.dtype(ml_dtypes.bfloat16)
    length = math.prod(shape) * dtype.itemsize
    if any(along < 0 for along in shape) or begin + length > size:
        raise ValueError(f"array {name!r} of {shape} is cut off")

    def read() -> NDArray[Any]:
        with opened() as content:
            content.read(begin)
            return np.frombuffer(content.read(length), dtype).reshape(shape, order="F" if is_fortran else "C")

    if _is_real(dtype) and math.prod(shape) <= MOST:
        yield Dumped(name, shape, read)


def _is_real(dtype: np.dtype[Any] | None) -> bool:
    return dtype is not None and (dtype.kind == "f" or dtype == np.dtype(ml_dtypes.bfloat16))
