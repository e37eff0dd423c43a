"""Whether a quantised weight is the checkpoint's, rounded; where it is not, the checkpoint's own number is true.

A reference with a package's weights, whatever they are, would find nothing wrong with a package whose weights are
wrong. So a block is believed only where each of its numbers is the nearest that its scale has.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from implementations.onnx.quantization.values import Held
from parity.weights.overlay import Codes
from parity.weights.written import Stored

SLACK = 0.02
"""Steps between codes by which another may be nearer: a scale in float16 is rounded behind the codes, by 0.004."""
ROWS = 4096
"""Rows that are looked at at a time."""
TINY = 2.0**-24
"""The smallest float16, which the converter makes of all that would be zero."""


def believed(found: Held, stored: Stored) -> Held:
    """The weight that is true: `found` where it is `stored` rounded, in each other block `stored` itself."""
    return _codes(found, stored) if isinstance(found, Codes) else _half(found, stored)


def _half(found: NDArray[np.float16], stored: Stored) -> NDArray[np.float16] | NDArray[np.float64]:
    original = stored.read().astype(np.float64)
    with np.errstate(over="ignore"):
        right = (found == original.astype(np.float16)) | ((np.abs(original) < TINY) & (np.abs(found) <= TINY))
    right |= (np.abs(original) > np.finfo(np.float16).max) & (np.abs(found) == np.finfo(np.float16).max)
    return found if right.all() else np.where(right, found, original)


def _codes(found: Codes, stored: Stored) -> Codes | NDArray[np.float64]:
    blocks = [slice(first, first + ROWS) for first in range(0, len(found.codes), ROWS)]
    if all(_right(found, stored, rows).all() for rows in blocks):
        return found
    parts = [np.where(_right(found, stored, rows), found.values(rows), stored.read(rows)) for rows in blocks]
    return np.concatenate(parts)


def _right(found: Codes, stored: Stored, rows: slice) -> NDArray[np.bool_]:
    """For each number of some rows whether its block is the checkpoint's, rounded."""
    scales, zeros = found.along(found.scales, rows), found.along(found.zeros, rows)
    original = stored.read(rows).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.nan_to_num(original / scales)
    nearest = (np.clip(np.rint(steps) + zeros, 0, (1 << found.bits) - 1) - zeros) * scales
    wrong = np.abs(found.values(rows) - original) > np.abs(nearest - original) + SLACK * np.abs(scales)
    starts = np.arange(0, wrong.shape[1], found.group)
    right: NDArray[np.bool_] = ~np.logical_or.reduceat(wrong, starts, axis=1)
    return right.repeat(found.group, axis=1)[:, : wrong.shape[1]]
