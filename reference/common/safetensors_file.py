"""Write bfloat16 tensors as a safetensors file, byte for byte the same everywhere.

Writing the format here keeps the file's bytes independent of the library's version.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parity.safetensors_header import header_of


def size_of(shape: tuple[int, ...]) -> int:
    """Return the bytes of a tensor."""
    return 2 * math.prod(shape)


def header(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """Return length and JSON header; tensors lie in the order of the mapping, two bytes an element."""
    return header_of({name: ("BF16", shape) for name, shape in shapes.items()}, {"format": "pt"})


def write(path: Path, tensors: Mapping[str, npt.NDArray[np.uint16]]) -> None:
    """Write tensors, given as bfloat16 bit patterns, sorted by name."""
    ordered = dict(sorted(tensors.items()))
    with path.open("wb") as file:
        file.write(header({name: tensor.shape for name, tensor in ordered.items()}))
        for tensor in ordered.values():
            file.write(tensor.astype("<u2").tobytes())


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of a safetensors file from its header."""
    with path.open("rb") as file:
        entries = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: tuple(entry["shape"]) for name, entry in entries.items() if name != "__metadata__"}


def read(path: Path) -> dict[str, npt.NDArray[np.uint16]]:
    """Read the bfloat16 bit patterns of a file that `write` wrote, by name."""
    sizes = shapes(path)
    with path.open("rb") as file:
        file.seek(int.from_bytes(file.read(8), "little"), 1)
        data = np.frombuffer(file.read(), "<u2")
    ends = np.cumsum([int(np.prod(shape, dtype=np.int64)) for shape in sizes.values()])
    parts = np.split(data, ends[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(sizes.items(), parts, strict=True)}
