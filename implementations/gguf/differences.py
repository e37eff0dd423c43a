"""What two GGUF files of one model differ in: ours and another converter's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from implementations.gguf.file import Kept, read


@dataclass(frozen=True)
class Difference:
    """Where two files are not the same to the bit.

    Attributes:
        tensor: its name.
        what: in a few words.
        numbers: whether the numbers differ, too; the same ones may be in another type.
        alone: whether one file alone has it.
    """

    tensor: str
    what: str
    numbers: bool = True
    alone: bool = False


def differences(ours: Path, theirs: Path) -> tuple[int, list[Difference]]:
    """How many tensors both have, and where they differ, in the first one's order.

    Raises:
        UsageError: for a file that cannot be read.
    """
    left, right = read(ours).tensors, read(theirs).tensors
    both = [name for name in left if name in right]
    found = [difference for name in both if (difference := _difference(name, left[name], right[name]))]
    for file, here, there in ((ours, left, right), (theirs, right, left)):
        found += [Difference(name, f"in {file} alone", alone=True) for name in here if name not in there]
    return len(both), found


def _difference(name: str, ours: Kept, theirs: Kept) -> Difference | None:
    if ours.shape != theirs.shape:
        return Difference(name, f"{list(ours.shape)} and {list(theirs.shape)}")
    if ours.kind == theirs.kind and np.array_equal(ours.raw, theirs.raw):
        return None
    types = ours.kind.name if ours.kind == theirs.kind else f"{ours.kind.name} and {theirs.kind.name}"
    try:
        error = _error(ours, theirs)
    except NotImplementedError:
        return Difference(name, f"{types}, whose numbers cannot be read: other bytes")
    if not error:
        return Difference(name, f"{types}, the same numbers", numbers=False)
    return Difference(name, f"{types}, relative error {error:.1e}")


def _error(ours: Kept, theirs: Kept) -> float:
    """Of our numbers against theirs, in L2; infinite where theirs are all zero."""
    off = size = 0.0
    for left, right in zip(ours.numbers(), theirs.numbers(), strict=True):
        off += float(np.sum((left.astype(np.float64) - right) ** 2))
        size += float(np.sum(right.astype(np.float64) ** 2))
    return float(np.sqrt(off / size)) if size else float("inf") if off else 0.0
