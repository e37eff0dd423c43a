"""What is kept of one tensor, against NumPy in float64."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from parity.errors import UsageError
from parity.traces.sketch import TILE
from parity.traces.statistics import Statistics, measure

FLOATS = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
SIZES = [1, 2, 60, 976, 3903, 3904, 3905, TILE, 6 * TILE, 6 * TILE + 1, 11 * TILE + 77]


def check_moments(array: npt.NDArray[Any], *, relative: float = 1e-6) -> Statistics:
    """Measure `array`, and compare all but digest and sketch with NumPy in float64."""
    result, wide = measure(array), array.astype(np.float64)
    assert (result.count, result.nan_count, result.inf_count) == (array.size, 0, 0)
    assert (result.min, result.max) == (wide.min(), wide.max())
    assert result.abs_max == np.abs(wide).max()
    assert result.zero_fraction == np.mean(wide == 0)
    assert result.mean == pytest.approx(wide.mean(), rel=relative, abs=1e-9 * np.abs(wide).max())
    assert result.std == pytest.approx(wide.std(), rel=relative)
    assert result.rms == pytest.approx(np.sqrt(np.mean(wide**2)), rel=relative)
    assert result.norm == pytest.approx(np.linalg.norm(wide), rel=relative)
    return result


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: np.dtype(dtype).name)
def test_moments_at_every_block_boundary(size: int, dtype: Any) -> None:
    """Blocks, runs and rests of any length add up."""
    check_moments(np.random.default_rng(size).normal(0.3, 2.0, size).astype(dtype))


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e3, -1e5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_a_large_mean_does_not_cost_the_deviation(offset: float, dtype: Any) -> None:
    """The deviation of 1000 + N(0, 1) is as exact as that of N(0, 1), in one block and in several."""
    rng = np.random.default_rng(3)
    for size in (500, 20_000, 300_000):
        check_moments((offset + rng.standard_normal(size)).astype(dtype))


def test_blocks_of_different_means_are_merged() -> None:
    """The deviation between blocks counts too: here it is nearly all of it."""
    steps = np.repeat(np.arange(12.0), TILE) + np.random.default_rng(4).normal(0, 1e-3, 12 * TILE)
    check_moments(steps.astype(np.float32))


def test_a_constant_has_no_deviation() -> None:
    """Not even a rounding error of one."""
    result = measure(np.full((300, 256), 0.1, dtype=np.float32))
    assert result.mean == result.min == result.max == float(np.float32(0.1))
    assert result.std == 0.0


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8, np.bool_], ids=lambda dtype: dtype.__name__)
def test_integers_and_bool(dtype: Any) -> None:
    """Integers are measured like floats; True is 1."""
    check_moments((np.arange(100_000) % 7 - (0 if dtype in (np.uint8, np.bool_) else 3)).astype(dtype))


def test_nan_and_infinities_are_counted_and_left_out() -> None:
    """The finite elements alone make extremes, moments and sketch; the fraction of zeros is of all elements."""
    array = np.array([3.0, math.nan, -1.0, math.inf, 0.0, -math.inf, math.nan, 2.0], dtype=np.float32)
    result = measure(array)
    assert (result.count, result.nan_count, result.inf_count) == (8, 2, 2)
    assert (result.min, result.max, result.abs_max, result.mean) == (-1.0, 3.0, 3.0, 1.0)
    assert result.std == pytest.approx(math.sqrt(2.5))
    assert result.rms == pytest.approx(math.sqrt(3.5))
    assert result.norm == pytest.approx(math.sqrt(14.0))
    assert result.zero_fraction == 1 / 8
    assert result.sketch == measure(np.where(np.isfinite(array), array, 0)).sketch


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("place", [0, 5 * TILE, 12 * TILE - 1])
def test_one_nan_anywhere_is_found(place: int, dtype: Any) -> None:
    """In the first block, between, and in the very last element."""
    array = np.ones(12 * TILE, dtype=dtype)
    array[place] = math.nan
    result = measure(array)
    assert (result.nan_count, result.inf_count, result.mean, result.std) == (1, 0, 1.0, 0.0)


def test_nothing_finite_is_all_zero_but_counted() -> None:
    """Without a finite element every number is 0.0, and the counts say why."""
    result = measure(np.array([math.inf, math.nan], dtype=np.float32))
    assert (result.count, result.nan_count, result.inf_count) == (2, 1, 1)
    assert (result.min, result.max, result.mean, result.std, result.rms, result.norm) == (0, 0, 0, 0, 0, 0)


def test_an_empty_tensor_is_defined() -> None:
    """Zeros, a count of 0, and the hash of no bytes."""
    result = measure(np.zeros((3, 0, 5), dtype=np.float32))
    assert result == Statistics(
        0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, count=0, digest=xxhash.xxh3_128_hexdigest(b""), sketch=(0.0,) * 61
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32, ml_dtypes.bfloat16], ids=lambda dtype: np.dtype(dtype).name)
def test_masks_of_the_lowest_number_do_not_overflow(dtype: Any) -> None:
    """An additive mask holds `finfo.min`, whose square is beyond every format."""
    lowest = float(ml_dtypes.finfo(dtype).min)
    mask = np.triu(np.full((256, 256), lowest, dtype=dtype), 1)
    share = 255 / 512
    result = measure(mask)
    assert (result.min, result.max, result.abs_max, result.inf_count) == (lowest, 0.0, -lowest, 0)
    assert result.mean == pytest.approx(lowest * share)
    assert result.rms == pytest.approx(-lowest * math.sqrt(share))
    assert result.std == pytest.approx(-lowest * math.sqrt(share * (1 - share)))
    assert all(math.isfinite(value) for value in result.sketch)
    assert measure(np.full(3, lowest, dtype=dtype)).rms == -lowest


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1e-30), (np.float32, 1e-44), (np.float64, 1e-300)])
def test_tiny_numbers_do_not_underflow(dtype: Any, scale: float) -> None:
    """Squares of tiny numbers are 0 in their own format."""
    array = (np.arange(1.0, 1000.0) * scale).astype(dtype)
    wide = array.astype(np.float64) / scale
    result = measure(array)
    assert result.rms / scale == pytest.approx(np.sqrt(np.mean(wide**2)))
    assert result.std / scale == pytest.approx(wide.std())


def test_extremes_far_apart() -> None:
    """Scaling for the largest element does not turn the smallest into a zero."""
    result = measure(np.array([1e300, 1e-300, -0.0, 0.0]))
    assert (result.min, result.max, result.zero_fraction) == (0.0, 1e300, 0.5)


@pytest.mark.parametrize("dtype", [*FLOATS, np.int64, np.bool_], ids=lambda dtype: np.dtype(dtype).name)
def test_digest_is_of_the_bytes_in_c_order(dtype: Any) -> None:
    """Shape, strides and byte order do not enter, every byte does."""
    array = (np.arange(24).reshape(2, 3, 4) % 5).astype(dtype)
    digest = xxhash.xxh3_128_hexdigest(array.tobytes())
    assert measure(array).digest == digest
    assert measure(array.reshape(-1)).digest == digest
    assert measure(np.asfortranarray(array)).digest == digest
    assert measure(np.repeat(array, 2, axis=2)[:, :, ::2]).digest == digest
    array[1, 2, 3] = 0
    assert measure(array).digest != digest


def test_digest_of_several_blocks_and_of_the_careful_path() -> None:
    """Hashing block by block, or at once where a NaN was met, gives the hash of the whole."""
    array = np.random.default_rng(5).standard_normal(20 * TILE + 5).astype(np.float32)
    assert measure(array).digest == xxhash.xxh3_128_hexdigest(array.tobytes())
    array[-1] = math.nan
    assert measure(array).digest == xxhash.xxh3_128_hexdigest(array.tobytes())


def test_big_endian_arrays_are_the_same_tensor() -> None:
    """The order of bytes in memory changes nothing."""
    array = np.arange(100, dtype="<f4")
    assert measure(array.astype(">f4")) == measure(array)


def test_scalars_are_tensors_of_one_element() -> None:
    """A tensor without axes is measured like one of a single element."""
    assert measure(np.array(2.5, dtype=np.float32)) == measure(np.array([2.5], dtype=np.float32))


def test_measuring_leaves_the_array_alone_and_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    """No element changes, and overflow inside is not the user's business."""
    array = np.array([3e38, math.nan, 1.0], dtype=np.float32)
    before = array.tobytes()
    measure(array)
    assert array.tobytes() == before
    assert not recwarn.list


def test_what_is_no_number_is_refused() -> None:
    """Complex numbers have no order, so they have no minimum."""
    with pytest.raises(UsageError, match="complex64"):
        measure(np.zeros(3, dtype=np.complex64))


@given(npst.arrays(np.float32, st.integers(1, 300), elements=st.floats(width=32)))
def test_whatever_the_elements_the_bounds_hold(array: npt.NDArray[np.float32]) -> None:
    """Any float32, NaN and subnormal included: counts add up and no moment leaves its bounds."""
    result = measure(array)
    assert result.nan_count == np.isnan(array).sum()
    assert result.inf_count == np.isinf(array).sum()
    assert result.min <= result.mean <= result.max
    assert 0 <= result.std <= result.abs_max
    assert abs(result.mean) * (1 - 1e-6) <= result.rms <= result.abs_max
