"""The tensors of a checkpoint, none of which has been read yet: names and shapes are known from the files' headers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from parity.checkpoint import weight_files
from parity.errors import UsageError
from parity.weights.adapter import merged
from parity.weights.names import Spelling, bare
from parity.weights.overlay import overlaid
from parity.weights.quantized import settings_of, unpacked
from parity.weights.written import Stored, Written, tensors_of


def stored(checkpoint: Path, spelled: Spelling) -> dict[str, Stored]:
    """The tensors of a checkpoint directory by the names that a reader calls them.

    Args:
        checkpoint: its folder.
        spelled: the reader's spelling.

    Raises:
        UsageError: for a file that is missing or truncated, a tensor that is there twice, or a quantisation or an
            adapter that is not read.
    """
    found = unpacked(checkpoint, _plain(checkpoint), settings_of(checkpoint))
    found |= merged(checkpoint, found)
    found |= overlaid(checkpoint)
    return {spelled(name): tensor for name, tensor in found.items()}


def _plain(checkpoint: Path) -> Mapping[str, Written]:
    """Every tensor by its bare name."""
    found: dict[str, Written] = {}
    for file in weight_files(checkpoint):
        for tensor in tensors_of(file):
            name = bare(tensor.name)
            if name in found:
                twice = f"{found[name].name} in {found[name].file.path.name} and {tensor.name} in {file.name}"
                raise UsageError(f"checkpoint {checkpoint} has one tensor twice: {twice}; remove one of them")
            found[name] = tensor
    return found
