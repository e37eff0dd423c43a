"""Tensors as places by all else, and what a page shows of them: maps, histograms, worst elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parity.report.detail import Heat, Histogram
from parity.traces.measure import Float

MAP_ROWS, MAP_COLUMNS, BINS = 48, 64, 40
"""Most rows and columns of a map, and bins of a histogram: what a screen shows and a reader can tell apart."""
_SMALLEST = -20.0
"""Decimal exponent that errors below it are counted at: float64's roundoff of values near 1e-4."""


def difference(*, oracle: Float, candidate: Float) -> Float:
    """``candidate - oracle`` by element; infinite where one side alone is not finite, zero where both are alike."""
    alike = (oracle == candidate) | (np.isnan(oracle) & np.isnan(candidate))
    with np.errstate(invalid="ignore"):
        error = np.where(alike, 0.0, candidate - oracle)
    return np.where(np.isnan(error), np.inf, error)


def channel_map(error: Float, *, scale: float, floor: float, labels: Sequence[str], valid: NDArray[np.bool_]) -> Heat:
    """Root mean square of the errors (places, channels) in blocks, relative to `scale`, in floors.

    Args:
        error: differences.
        scale: root mean square of the true values.
        floor: relative error that counts as one.
        labels: of the places.
        valid: which elements are real tokens', same shape.
    """
    rows, columns = _edges(error.shape[0], MAP_ROWS), _edges(error.shape[1], MAP_COLUMNS)
    squares = np.where(valid, np.square(error), 0.0)
    power, counts = _blocks(squares, rows, columns), _blocks(valid.astype(np.float64), rows, columns)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.sqrt(power / counts)
    return Heat(
        title="error by place and channel",
        across="channel",
        rows=tuple(_range(labels, *span) for span in _spans(rows, error.shape[0])),
        columns=tuple(_numbers(*span) for span in _spans(columns, error.shape[1])),
        values=tuple(tuple(in_floors(float(value), scale, floor) for value in line) for line in values),
        grouped=len(rows) < error.shape[0] or len(columns) < error.shape[1],
    )


def group_rows(values: Float, labels: Sequence[str]) -> tuple[tuple[str, ...], Float]:
    """Labels and values (places, layers) with as many rows as a map may have: of several the worst."""
    rows = _edges(values.shape[0], MAP_ROWS)
    return tuple(_range(labels, *span) for span in _spans(rows, len(labels))), np.fmax.reduceat(values, rows, axis=0)


def in_floors(error: float, scale: float, floor: float) -> float:
    """``error / scale`` in floors, to three digits; any error is infinite where there is no floor."""
    if error == 0 or math.isnan(error):
        return error
    unit = scale * floor
    return rounded(error / unit) if unit > 0 else math.inf


def rounded(value: float) -> float:
    """Three significant digits, which is more than a colour shows."""
    return float(f"{value:.3g}")


def value_histogram(parties: dict[str, Float]) -> Histogram | None:
    """How the values are distributed; None where nothing is finite or all is one value."""
    finite = {name: array[np.isfinite(array)] for name, array in parties.items()}
    low = min((float(array.min()) for array in finite.values() if array.size), default=0.0)
    high = max((float(array.max()) for array in finite.values() if array.size), default=0.0)
    if not low < high or not math.isfinite(high - low):
        return None
    edges = np.linspace(low, high, BINS + 1)
    if not np.all(np.diff(edges) > 0):  # too close together for so many bins
        return None
    counts = tuple(tuple(np.histogram(array, bins=edges)[0].tolist()) for array in finite.values())
    return Histogram("values", tuple(edges.tolist()), tuple(finite), counts)  # edges may differ in their last digits


def error_histogram(errors: dict[str, Float], *, scale: float) -> Histogram | None:
    """How large the errors are relative to `scale`, by decimal exponent; exact elements are left out."""
    exponents = {name: _exponents(error, scale) for name, error in errors.items()}
    present = [array for array in exponents.values() if array.size]
    if not present or not scale > 0:
        return None
    low = math.floor(min(float(array.min()) for array in present))
    high = math.ceil(max(float(array.max()) for array in present))
    edges = np.linspace(low, max(high, low + 1), BINS + 1)
    counts = tuple(tuple(np.histogram(array, bins=edges)[0].tolist()) for array in exponents.values())
    return Histogram("errors", tuple(map(rounded, edges.tolist())), tuple(exponents), counts, exponents=True)


def _exponents(error: Float, scale: float) -> Float:
    counted: Float = np.abs(error[np.isfinite(error) & (error != 0)])
    if not scale > 0:
        return counted[:0]
    exponents: Float = np.log10(counted) - math.log10(scale)
    return np.maximum(exponents, _SMALLEST)


def _edges(size: int, most: int) -> NDArray[np.intp]:
    """Where each of at most `most` groups of `size` begins; groups differ by one at most."""
    return np.linspace(0, size, min(size, most), endpoint=False).astype(np.intp)


def _spans(starts: NDArray[np.intp], size: int) -> list[tuple[int, int]]:
    return list(zip(starts.tolist(), [*starts.tolist()[1:], size], strict=True))


def _blocks(values: Float, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Float:
    sums: Float = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    return sums


def _range(labels: Sequence[str], start: int, stop: int) -> str:
    return labels[start] if stop - start == 1 else f"{labels[start]} … {labels[stop - 1]}"


def _numbers(start: int, stop: int) -> str:
    return str(start) if stop - start == 1 else f"{start}-{stop - 1}"
