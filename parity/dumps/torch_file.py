"""Tensors in a file that `torch.save` wrote: unpickled without running anything, and only as large as the file is."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.dumps.files import Dumped
from parity.errors import BackendUnavailable

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

DEPTH, ITEMS = 6, 100_000
"""Of dictionaries, lists and tuples in each other."""
PICKLE = 2**26
"""Bytes of the file's list of tensors: 100,000 take 20 MB."""


def read_torch(file: Path, most: int) -> Iterator[Dumped]:
    """Every tensor of real numbers of at most so many, wherever it is in dictionaries, lists and tuples.

    Raises:
        ValueError: for what is no such file.
        BackendUnavailable: without torch.
    """
    _require_plain(file)
    try:
        import torch
    except ImportError as error:
        raise BackendUnavailable(f"dump {file} is torch's, and torch is not installed: install [hf]") from error
    try:
        content = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # the unpickler raises many unrelated types
        first = str(error).strip().partition("\n")[0][:120]
        raise ValueError(f"torch reads no tensors from it ({type(error).__name__}: {first})") from error
    for name, tensor in _flat("", content, 0):
        if tensor.is_floating_point() and tensor.layout is torch.strided and tensor.numel() <= most:
            yield Dumped(name, tuple(tensor.shape), partial(_numbers, tensor))


def _numbers(tensor: torch.Tensor) -> NDArray[Any]:
    """In float64, which holds those of any format."""
    found: NDArray[Any] = tensor.detach().double().numpy()
    return found


def _require_plain(file: Path) -> None:
    """Refuse what torch does not write: parts that are packed may unfold to any size."""
    with zipfile.ZipFile(file) as archive:
        for part in archive.infolist():
            if part.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"its part {part.filename[:60]!r} is packed, which torch never does")
            if part.filename.endswith("data.pkl") and part.file_size > PICKLE:
                raise ValueError(f"its list of tensors has {part.file_size:,} bytes")


def _flat(name: str, value: Any, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping | list | tuple):
        if depth == DEPTH or len(value) > ITEMS:
            raise ValueError(f"{name[:60]!r} holds more than {ITEMS:,} things, or things in {DEPTH} others")
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _flat(f"{name}.{key}" if name else str(key), item, depth + 1)
