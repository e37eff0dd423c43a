"""The sketch: its definition, its linearity, and how well it estimates a distance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.traces.sketch import BUCKETS, ROW, TILE, estimated_norm, relative_error, sketch_of
from parity.traces.statistics import measure

WRAP = 2**64 - 1
FIRST_SIGNS = [-1, -1, 1, -1, 1, 1, 1, -1, 1, 1, 1, -1, -1, -1, 1, -1]
LATE = 3 * 62464 + 5 * 3904 + 240  # tile 3, row 5, around the end of slice 0
SIGNS_FROM_LATE = [1, 1, 1, -1, -1, 1, 1, -1, -1, 1, -1, 1, 1, -1, 1, -1]
SKETCH_OF_ARANGE_1000 = [
    *(0, -4277, 2084, -3431, 126, -859, -3800, 1471, -1122, 2363, -4970, -2107, 574, -2871, -624, 1875),
    *(-3772, 837, -3994, 4037, 224, -3197, 1164, 1167, 3390, 194, 418, 4554, 1510, 1034, 4204, -610),
    *(1156, -976, -2034, -2824, -998, -1246, -4696, -776, 610, 326, 450, 1306, 5266, 1400, 3722, 3604),
    *(1682, 1196, -2496, 1424, 3344, 488, 854, 2672, 244, 1944, -250, -2432, 4264),
]


def splitmix64(n: int) -> int:
    """The hash of the format, in plain Python."""
    z = (n + 0x9E3779B97F4A7C15) & WRAP
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WRAP
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WRAP
    return z ^ (z >> 31)


def sign(i: int) -> int:
    """The sign of element i, as the module's docstring defines it."""
    tile, row, column, slice_ = i // 62464, i % 62464 // 3904, i % 3904, i % 3904 // 244
    hashed = splitmix64(tile * 3904 + column)
    return -1 if (hashed ^ (slice_ & row).bit_count() ^ (row & (row >> 1)).bit_count()) & 1 else 1


def naive_sketch(values: list[float]) -> list[float]:
    """The sketch, as the module's docstring defines it."""
    buckets = [0.0] * 61
    for i, value in enumerate(values):
        buckets[i % 61] += sign(i) * value
    return buckets


def test_splitmix64_is_the_published_one() -> None:
    """The first output of the generator with seed 1234567, as published with it."""
    assert splitmix64(1234567) == 6457827717110365317


def test_vectors_for_ports() -> None:
    """Signs and a sketch that any other implementation must reproduce."""
    assert [sign(i) for i in range(16)] == FIRST_SIGNS
    assert [sign(i) for i in range(LATE, LATE + 16)] == SIGNS_FROM_LATE
    assert naive_sketch(list(range(1000))) == SKETCH_OF_ARANGE_1000
    assert sketch_of(np.arange(1000)).tolist() == SKETCH_OF_ARANGE_1000


@pytest.mark.parametrize(
    "size", [1, 61, 1000, ROW - 1, ROW, ROW + 1, 5 * ROW + 7, TILE - 1, TILE, TILE + 1, 4 * TILE + 1234]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_fast_sketches_equal_the_definition(size: int, dtype: Any) -> None:
    """Blocks, tiles, rows and rests of any length add up to the definition; small integers make it exact."""
    values = (np.arange(size) * 37 % 101 - 50).astype(dtype)
    expected = naive_sketch(values.tolist())
    assert list(measure(values).sketch) == expected
    assert sketch_of(values).tolist() == expected


def test_the_table_of_signs_grows() -> None:
    """Beyond the 16 tiles of the first table the signs go on as defined."""
    size = 20 * TILE
    values = np.zeros(size, dtype=np.float32)
    places = [0, 15 * TILE + 5, 16 * TILE, 19 * TILE + ROW + 1, size - 1]
    values[places] = [1, 2, 4, 8, 16]
    expected = [0.0] * BUCKETS
    for place in places:
        expected[place % BUCKETS] += sign(place) * float(values[place])
    assert list(measure(values).sketch) == expected


whole_numbers = st.integers(-(2**20), 2**20)


@given(st.lists(st.tuples(whole_numbers, whole_numbers), min_size=1, max_size=400), st.integers(-8, 8))
def test_the_map_is_linear(pairs: list[tuple[int, int]], factor: int) -> None:
    """sketch(x + a y) = sketch(x) + a sketch(y), exactly where the arithmetic is exact."""
    x, y = np.array(pairs, dtype=np.float64).T
    assert np.array_equal(sketch_of(x + factor * y), sketch_of(x) + factor * sketch_of(y))


def test_shape_and_order_in_memory_do_not_enter() -> None:
    """Only the elements in C order count."""
    array = np.arange(60.0).reshape(3, 4, 5)
    expected = sketch_of(np.arange(60.0)).tolist()
    assert sketch_of(array).tolist() == expected
    assert sketch_of(np.asfortranarray(array)).tolist() == expected


def test_what_is_not_finite_counts_as_zero() -> None:
    """NaN and infinities drop out, and so do magnitudes whose sum could overflow."""
    array = np.array([1.0, math.nan, math.inf, -math.inf, np.finfo(np.float64).min, 2.0**960, 2.0])
    expected = sketch_of(np.array([1.0, 0, 0, 0, 0, 0, 2.0])).tolist()
    assert sketch_of(array).tolist() == expected
    assert list(measure(array).sketch) == expected


def estimate_over_truth(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> float:
    """Estimated relative error of y over the true one, both taken from the rounded tensors."""
    oracle, candidate = measure(x), measure(y)
    wide = x.astype(np.float64)
    truth = float(np.linalg.norm(y.astype(np.float64) - wide) / np.linalg.norm(wide))
    estimate = relative_error(oracle_sketch=oracle.sketch, candidate_sketch=candidate.sketch, oracle_norm=oracle.norm)
    return estimate / truth


Difference = Callable[[np.random.Generator, npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def _dense(rng: np.random.Generator, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return rng.standard_normal(size=x.shape)


def _constant(rng: np.random.Generator, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.ones(x.shape)


def _channel(rng: np.random.Generator, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    difference = np.zeros(x.shape)
    difference[:, rng.integers(x.shape[1])] = 1.0
    return difference


def _token(rng: np.random.Generator, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    difference = np.zeros(x.shape)
    difference[rng.integers(x.shape[0])] = 1.0
    return difference


def _block(rng: np.random.Generator, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    rows, columns = (rng.integers(size // 2) + np.arange(size // 4) for size in x.shape)
    difference = np.zeros(x.shape)
    difference[np.ix_(rows, columns)] = 1.0
    return difference


def _alternating(rng: np.random.Generator, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.resize(np.array([1.0, -1.0]), x.shape)


def _bias(rng: np.random.Generator, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.zeros(x.shape) + rng.standard_normal(x.shape[1])


def _scaled(rng: np.random.Generator, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return x


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("difference", [_dense, _constant, _channel, _token, _block, _alternating, _bias, _scaled])
def test_estimates_lie_within_a_quarter(difference: Difference, dtype: Any) -> None:
    """For relative errors from 1e-6 to 1, whatever their structure, 95 % of the estimates are within 25 %."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(140):
        shape = tuple(np.exp(rng.uniform(np.log(8), np.log(600), size=2)).astype(int))
        if shape[1] % BUCKETS == 0:  # a single channel would be in a single bucket
            continue
        x = (rng.standard_normal(shape) + rng.choice([0, 3])).astype(dtype)
        wide = x.astype(np.float64)
        change = difference(rng, wide)
        magnitude = 10.0 ** rng.uniform(-6, 0)
        y = (wide + change * magnitude * np.linalg.norm(wide) / np.linalg.norm(change)).astype(dtype)
        if not np.array_equal(x, y):  # bfloat16 rounds small differences away
            ratios.append(estimate_over_truth(x, y))
    assert len(ratios) >= 50
    assert np.mean(np.abs(np.array(ratios) - 1) <= 0.25) >= 0.95


def test_a_single_wrong_element_is_measured_exactly() -> None:
    """One element meets no other in its bucket, so there is nothing to estimate."""
    x = np.random.default_rng(1).standard_normal(50_000)
    y = x.copy()
    y[31_337] += 0.5
    assert estimate_over_truth(x, y) == pytest.approx(1.0, rel=1e-9)


def test_relative_error_of_equal_and_of_zero_oracles() -> None:
    """Equal sketches are no error, even of a zero oracle; a zero oracle missed is infinitely wrong."""
    zero, one = np.zeros(BUCKETS), np.eye(BUCKETS)[3]
    assert relative_error(oracle_sketch=one, candidate_sketch=one, oracle_norm=1.0) == 0.0
    assert relative_error(oracle_sketch=zero, candidate_sketch=zero, oracle_norm=0.0) == 0.0
    assert relative_error(oracle_sketch=zero, candidate_sketch=one, oracle_norm=0.0) == math.inf
    assert relative_error(oracle_sketch=one, candidate_sketch=zero, oracle_norm=4.0) == 0.25


def test_norms_are_estimated_without_bias() -> None:
    """Over many tensors, the mean square of the estimate is the square of the norm."""
    rng = np.random.default_rng(2)
    squares = [estimated_norm(sketch_of(rng.standard_normal(3000))) ** 2 / 3000 for _ in range(200)]
    assert np.mean(squares) == pytest.approx(1.0, abs=0.05)
