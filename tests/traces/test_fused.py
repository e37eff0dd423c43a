"""The compiled pass, against NumPy's; when it is loaded, and what happens where it cannot be."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parity.traces import fused
from parity.traces.sketch import ROW, SLICE, TILE
from parity.traces.statistics import measure

pytest.importorskip("numba")

DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
EXACT = ("count", "min", "max", "abs_max", "zero_fraction", "nan_count", "inf_count", "digest")
SPECIAL = [math.nan, math.inf, -math.inf, 3e38, -3e38, 1e-45, -1e-45, 1e-30, -0.0, 0.0]
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)


def by_numpy(array):
    """What NumPy alone measures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("parity.traces.statistics.kernel_of", lambda dtype: None)
        return measure(array)


def check(array):
    """By the kernel or by NumPy, counts, extremes and digest agree exactly, moments and sketch to rounding."""
    found, expected = measure(array), by_numpy(array)
    for name in EXACT:
        assert getattr(found, name) == getattr(expected, name), name
    rounding = 1e-14 if array.dtype == np.float64 else 1e-6
    assert found.mean == pytest.approx(expected.mean, abs=rounding * expected.rms)
    assert found.std == pytest.approx(expected.std, rel=rounding, abs=rounding * expected.rms)
    assert found.rms == pytest.approx(expected.rms, rel=rounding)
    assert found.sketch == pytest.approx(expected.sketch, rel=rounding, abs=rounding * expected.norm)
    return found


def near(*places):
    """Numbers within 2 of multiples of those places."""
    return st.builds(
        lambda place, times, offset: max(1, place * times + offset),
        st.sampled_from(places),
        st.integers(0, 3),
        st.integers(-2, 2),
    )


lengths = near(61, SLICE, ROW, TILE, TILE // 2)


@by_dtype
@given(lengths, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 50.0, -1e4]))
@example(length=ROW, seed=0, offset=-1e4)
@settings(max_examples=40, deadline=None)
def test_agrees_with_numpy_at_every_boundary(dtype, length, seed, offset):
    """Lengths around buckets, slices, rows and tiles; means that do and do not dwarf the deviation; many zeros."""
    values = np.random.default_rng(seed).standard_normal(length)
    check(np.where(np.abs(values) < 0.2, 0.0, values + offset).astype(dtype))


@given(lengths, st.integers(0, 2**32 - 1), st.lists(st.sampled_from(SPECIAL), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_what_is_not_finite_or_extreme_is_seen(length, seed, special):
    """NaN, infinities, squares that over- or underflow, either zero: at any place, the outcome is NumPy's."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(length).astype(np.float32)
    values[rng.integers(length, size=len(special))] = special
    found = check(values)
    assert found.nan_count == np.isnan(values).sum()


@pytest.mark.parametrize("value", SPECIAL)
@pytest.mark.parametrize("length", [1, 2 * ROW, TILE + 5])
def test_nothing_but_one_value(value, length):
    """All elements alike."""
    check(np.full(length, value, dtype=np.float32))


@pytest.mark.parametrize("length", [1, SLICE + 1, ROW - 1, TILE, TILE + ROW + 7, 20 * TILE + 3])
def test_sketches_of_small_integers_are_equal(length):
    """Sums of small integers are exact, so the two ways must give the same 61 numbers: it is the same map."""
    values = (np.arange(length) * 37 % 101 - 50).astype(np.float32)
    assert measure(values).sketch == by_numpy(values).sketch


def test_scan_says_the_same_uncompiled():
    """The source of the kernel is plain Python, here run as such."""
    values = (np.arange(SLICE + 9) % 7 - 3.0).astype(np.float32)
    sketch = np.zeros(fused.BUCKETS)
    dtype = np.dtype(np.float32)
    found = fused.scan(values, fused.column_signs(dtype, 0), fused.row_signs(dtype), sketch)
    assert found == (-3, 3, np.sum(values == 0), values.sum(), np.sum(values * values))
    assert tuple(sketch) == by_numpy(values).sketch


def test_read_only_and_unaligned_arrays():
    """The one is read by the kernel, the other left to NumPy."""
    values = np.random.default_rng(1).standard_normal(TILE).astype(np.float32)
    expected = measure(values)
    values.flags.writeable = False
    assert measure(values) == expected
    shifted = np.frombuffer(b"\0" + values.tobytes(), dtype=np.uint8)[1:].view(np.float32)
    assert not shifted.flags.aligned
    assert measure(shifted) == by_numpy(values)


def run(code):
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_numba_is_imported_at_the_first_tensor():
    """Not by importing the engine."""
    code = """
import sys, numpy as np, parity.cli
from parity.traces.statistics import measure
print("numba" in sys.modules)
measure(np.ones(1, dtype=np.float32))
print("numba" in sys.modules)
"""
    assert run(code) == ["False", "True"]


def test_compiled_once():
    """Another process finds what this one compiled."""
    fused.kernel_of(np.dtype(np.float32))
    code = """
import numpy as np, parity.traces.fused
print(sum(parity.traces.fused._compiled(np.dtype(np.float32)).stats.cache_hits.values()))
"""
    assert run(code) == ["1"]


@pytest.mark.parametrize("error", [ImportError, RuntimeError("cannot cache function"), OSError(28, "No space left")])
def test_without_numba_numpy_measures(monkeypatch, error):
    """Not installed, no folder for its cache, a full disk: the result is NumPy's, and nobody is bothered."""

    def fail(dtype):
        raise error

    values = np.random.default_rng(2).standard_normal(3 * TILE).astype(np.float32)
    expected = by_numpy(values)
    monkeypatch.setattr(fused, "_compiled", fail)
    fused.kernel_of.cache_clear()
    try:
        assert fused.kernel_of(np.dtype(np.float32)) is None
        assert dataclasses.asdict(measure(values)) == dataclasses.asdict(expected)
    finally:
        fused.kernel_of.cache_clear()
