"""The loops of `preprocessing.resize` in machine code: importing this takes Numba, half a second."""

from __future__ import annotations

from collections.abc import Callable

import numba  # this module is imported where images are resized, and nowhere else
import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.preprocessing.resize import CHANNELS

TILE = 32
"""Rows that are transposed and added up together: with their channels, twelve vectors of 8 sums."""

Loop = Callable[..., None]


def compiled(loop: Loop) -> Loop:
    """In machine code, kept for other processes where there is a folder to write to."""
    try:
        return numba.njit(cache=True, nogil=True)(loop)
    except RuntimeError:
        return numba.njit(nogil=True)(loop)


@compiled
def along_rows(
    planes: NDArray[np.uint8], starts: NDArray[np.int64], weights: NDArray[np.int32], bits: int, out: NDArray[np.uint8]
) -> None:
    """``[channel row column]`` to ``[channel output column]``; weights as of `resize.fixed_weights`."""
    sums = np.empty(out.shape[2], np.int32)
    for channel in range(CHANNELS):
        for output in range(out.shape[1]):
            sums[:] = 1 << (bits - 1)
            for tap in range(min(weights.shape[1], planes.shape[1] - starts[output])):
                line, weight = planes[channel, starts[output] + tap], weights[output, tap]
                for column in range(sums.size):
                    sums[column] += weight * np.int32(line[column])
            made = out[channel, output]
            for column in range(sums.size):
                made[column] = sums[column] >> bits


@compiled
def along_columns(
    rows: NDArray[np.uint8], starts: NDArray[np.int64], weights: NDArray[np.int32], bits: int, out: NDArray[np.uint8]
) -> None:
    """``[row column channel]`` to ``[channel row output]``; weights as of `resize.fixed_weights`.

    Pixels that are added up lie side by side there; in lines, as in the other pass, many are added up at once.
    """
    lines = np.zeros((rows.shape[1], TILE * CHANNELS), np.uint8)
    sums = np.empty(TILE * CHANNELS, np.int32)
    for begin in range(0, len(rows), TILE):
        count = min(TILE, len(rows) - begin)
        for row in range(count):
            for column in range(rows.shape[1]):
                for channel in range(CHANNELS):
                    lines[column, CHANNELS * row + channel] = rows[begin + row, column, channel]
        for output in range(out.shape[2]):
            sums[:] = 1 << (bits - 1)
            for tap in range(min(weights.shape[1], len(lines) - starts[output])):
                line, weight = lines[starts[output] + tap], weights[output, tap]
                for element in range(TILE * CHANNELS):
                    sums[element] += weight * np.int32(line[element])
            for row in range(count):
                for channel in range(CHANNELS):
                    out[channel, begin + row, output] = sums[CHANNELS * row + channel] >> bits
