"""Names and rounding of number formats."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from parity import dtypes
from parity.errors import UsageError


@pytest.mark.parametrize("name", dtypes.NAMES)
def test_every_name_comes_back(name: str) -> None:
    """A name leads to a dtype, and an array of that dtype back to the name."""
    assert dtypes.name_of(np.zeros(3, dtype=dtypes.numpy_dtype(name))) == name


def test_byte_order_does_not_enter_the_name() -> None:
    """A big-endian array has the same name as a little-endian one."""
    assert dtypes.name_of(np.dtype(">f4")) == dtypes.name_of(np.dtype("<f4")) == "float32"


@pytest.mark.parametrize(
    ("name", "bits"), [("float64", 53), ("float32", 24), ("float16", 11), ("bfloat16", 8), ("float8_e4m3fn", 4)]
)
def test_unit_roundoff_follows_from_the_significand(name: str, bits: int) -> None:
    """A significand of p bits rounds with a relative error of at most 2**-p."""
    assert dtypes.unit_roundoff(name) == 2.0**-bits


@pytest.mark.parametrize("name", ["int32", "bool"])
def test_integers_have_no_unit_roundoff(name: str) -> None:
    """Asking for the rounding of a format that does not round is an error, not 0."""
    with pytest.raises(UsageError, match="no unit roundoff"):
        dtypes.unit_roundoff(name)


def test_unknown_formats_are_named_in_the_error() -> None:
    """The error says what was asked for and what there is."""
    with pytest.raises(UsageError, match=r"unknown dtype 'float23'.*float32"):
        dtypes.numpy_dtype("float23")
    with pytest.raises(UsageError, match="complex64"):
        dtypes.name_of(np.zeros(1, dtype=np.complex64))


@pytest.mark.parametrize("name", dtypes.NAMES)
def test_working_dtype_holds_every_small_value(name: str) -> None:
    """Values at the ends of a format survive the conversion to its working dtype."""
    dtype = dtypes.numpy_dtype(name)
    if name == "bool":
        values = np.array([False, True])
    elif dtypes.is_float(name):
        values = np.array([ml_dtypes.finfo(dtype).max, ml_dtypes.finfo(dtype).smallest_normal], dtype=dtype)
    else:
        values = np.array([max(np.iinfo(dtype).min, -(2**53)), min(np.iinfo(dtype).max, 2**53)], dtype=dtype)
    assert np.array_equal(values.astype(dtypes.working_dtype(name)).astype(dtype), values)


def test_as_float64_is_exact_for_bfloat16() -> None:
    """Bfloat16 values become the same numbers in float64."""
    array = np.array([1.0, 1.0078125, -3e38], dtype=ml_dtypes.bfloat16)
    wide = dtypes.as_float64(array)
    assert wide.dtype == np.float64
    assert wide[1] == 1.0078125
    assert np.array_equal(wide.astype(ml_dtypes.bfloat16), array)
