"""The sketches that goldens keep: a trace's 61 numbers folded to 31, of 24 bits each.

Folding is linear, so the difference of two folded sketches is still the sketch of the difference. Of 31 numbers the
estimate of a norm has a standard deviation of 13 % (``1 / sqrt(2 * 31)``): within 25 % in 95 of 100 cases. The numbers
are integers times a scale, the largest over 2**23 - 1; rounding to it adds an error of 8e-8 of the tensor's norm, about
float32's own unit roundoff. A quarter of the size is gained over float32.

Padding counts as zero: what a candidate computes there is its own affair, and a sum of signs could not leave it out
afterwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from parity.axes import Axes
from parity.dtypes import as_float64
from parity.traces.measure import validity
from parity.traces.sketch import BUCKETS, estimated_norm
from parity.traces.statistics import Statistics, measure
from parity.traces.trace import Key, Trace

FOLDED = BUCKETS // 2 + 1

BYTES = 3
LARGEST_CODE = 2 ** (8 * BYTES - 1) - 1

Sketches = npt.NDArray[np.float64]


def folded(sketch: npt.ArrayLike) -> Sketches:
    """`sketch` (BUCKETS,) as (FOLDED,): bucket b and b + 31 are one; bucket 30 stands alone."""
    whole = np.asarray(sketch, dtype=np.float64)
    sums: Sketches = whole[:FOLDED].copy()
    sums[: BUCKETS - FOLDED] += whole[FOLDED:]
    return sums


def packed(sketches: Sketches) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Folded sketches (n, FOLDED) as little-endian integers of 3 bytes (n, FOLDED * BYTES), and their scales (n,)."""
    largest = np.abs(sketches).max(axis=1)
    scales = np.where(largest > 0, largest / LARGEST_CODE, 1.0).astype(np.float32)
    numbers = np.clip(np.rint(sketches / scales[:, None].astype(np.float64)), -LARGEST_CODE, LARGEST_CODE).astype("<i4")
    words = numbers.view(np.uint8).reshape(-1, FOLDED, 4)
    return words[..., :BYTES].reshape(len(sketches), -1), scales


def unpacked(integers: npt.NDArray[np.uint8], scales: npt.NDArray[np.float32]) -> Sketches:
    """Inverse of `packed`, (n, FOLDED)."""
    words = np.zeros((len(integers), FOLDED, 4), dtype=np.uint8)
    words[..., 1:] = integers.reshape(-1, FOLDED, BYTES)
    shifted = words.view("<i4")[..., 0] >> 8  # back, with their sign
    numbers: Sketches = shifted.astype(np.float64) * scales[:, None].astype(np.float64)
    return numbers


def distance(*, oracle: npt.ArrayLike, candidate: npt.ArrayLike, exact: bool) -> float:
    """Estimate of how far two tensors are apart.

    Args:
        oracle: its sketch as a golden keeps it, (FOLDED,).
        candidate: its folded sketch, (FOLDED,).
        exact: for ids and masks, whose sums are whole numbers: rounding of the oracle's alone is no distance.
    """
    true = np.asarray(oracle, dtype=np.float64)
    difference = np.asarray(candidate, dtype=np.float64) - true
    if exact and np.max(np.abs(difference)) <= np.max(np.abs(true)) / LARGEST_CODE:
        return 0.0
    return estimated_norm(difference)


def statistics_without_padding(trace: Trace, key: Key, axes: Axes) -> Statistics:
    """A record's statistics with zeros for padding; where there is some, they are taken of the tensor anew.

    The scenario of `trace` must be the one that was run, and where it pads, tensors must have been kept; `axes` are the
    contract's.
    """
    if not any(trace.scenario.padding):
        return trace.statistics(key)
    tensor: npt.NDArray[Any] | None = trace.tensor(key)
    assert tensor is not None
    valid = validity(axes.layout(trace.records[key].axes, tensor.shape), trace.scenario, key.phase)
    return measure(tensor if valid is None else np.where(valid, as_float64(tensor), 0.0))
