"""A checkpoint with the numbers that a folder's palettes and integers stand for, by their content.

Held to the original weights, a package in 4 bits differs at every matrix. Held to its own, what it errs is arithmetic,
or a fault. Which matrix is which tensor is told by numbers alone, for other converters call them anything.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from implementations.coreml.anemll.folder import Folder
from implementations.coreml.interpreter.fewer_bits import Array, believed, fewer_bits
from parity.checkpoint import INDEX, weight_files
from parity.weights.written import Written, tensors_of

FAR = 0.5
"""Of a matrix's length, by which a rounded one may be off: 2 bits cost 0.35, and another matrix is 1.4 away."""


@dataclass(frozen=True)
class Matrix:
    """One of a package, in fewer bits.

    Attributes:
        name: its package's and its own.
        values: what its codes stand for, ``[out, in]``.
        rows: how many have a palette or scale in common.
    """

    name: str
    values: Array
    rows: int


def write_dequantized(folder: Folder, checkpoint: Path, output: Path) -> tuple[list[str], list[str]]:
    """Write a checkpoint's weights, those that a folder has in fewer bits as what these stand for.

    Returns:
        Names of the tensors that are another's now, and of matrices that are no tensor's.

    Raises:
        UsageError: for a package or a checkpoint that cannot be read.
    """
    matrices, changed = {matrix.name: matrix for matrix in _matrices(folder)}, []
    for file in weight_files(checkpoint):
        tensors = {}
        for tensor in tensors_of(file):
            own = tensor.read()
            new, of = _with(own, tensor, matrices)
            tensors[tensor.name] = np.ascontiguousarray(new)
            changed += [tensor.name] * bool(of)
            for name in of:
                del matrices[name]
        save_file(tensors, output / file.name, {"format": "pt"})
    if (checkpoint / INDEX).exists():
        shutil.copyfile(checkpoint / INDEX, output / INDEX)
    return changed, sorted(matrices)


def _matrices(folder: Folder) -> Iterator[Matrix]:
    for package in folder.packages:
        for name, values, rows in fewer_bits(package):
            yield Matrix(f"{package.stem}.{name}", values, rows)


def _with(
    own: NDArray[np.generic], tensor: Written, matrices: Mapping[str, Matrix]
) -> tuple[NDArray[np.generic], list[str]]:
    """A tensor with the parts of it that are matrices in fewer bits, and which these are."""
    if len(tensor.shape) != 2:
        return own, []
    found, of = own.astype(np.float64), []
    for name, matrix in matrices.items():
        if (first := _place(matrix.values, found)) is not None:
            part = slice(first, first + len(matrix.values))
            found[part] = believed(matrix.values, own[part].astype(np.float64), matrix.rows)
            of.append(name)
    return (found.astype(np.float32), of) if of else (own, of)


def _place(values: Array, tensor: Array) -> int | None:
    """The row of a tensor at which these begin, of which they are all or a part; None where they are none of it."""
    count, width = values.shape
    if tensor.shape[1] != width or len(tensor) < count:
        return None
    starts = tensor[: len(tensor) - count + 1]
    first = int(((starts - values[0]) ** 2).sum(1).argmin())
    part = tensor[first : first + count]
    return first if np.linalg.norm(part - values) < FAR * np.linalg.norm(part) else None
