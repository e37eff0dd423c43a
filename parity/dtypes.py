"""Number formats by the names that the field uses: ``bfloat16``, ``float32``, ``bool``, ``int64``.

NumPy has no bfloat16 of its own; ``ml_dtypes`` supplies it together with the epsilon of every format.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

from parity.errors import UsageError

_FLOATS = ("float64", "float32", "float16")
_SMALL_FLOATS = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")

_BY_NAME: dict[str, np.dtype[Any]] = {name: np.dtype(name) for name in (*_FLOATS, *_INTEGERS, "bool")}
_BY_NAME |= {name: np.dtype(getattr(ml_dtypes, name)) for name in _SMALL_FLOATS}

# A float32 holds every integer up to 2**24 and every value of a narrower float.
_EXACT_IN_FLOAT32 = {"float32", "float16", *_SMALL_FLOATS, "bool", "int8", "int16", "uint8", "uint16"}

NAMES = tuple(_BY_NAME)

COARSE = 1e-5
"""Unit roundoff from which on bugs hide in the noise: float16's is 5e-4, float32's 6e-8."""

_BYTE_ORDERS: tuple[Literal["<", ">"], ...] = ("<", ">")

# `dtype.name` composes its string anew at each call (5 us), which thousands of small tensors would feel.
_NAME_OF = {dtype.newbyteorder(order): name for name, dtype in _BY_NAME.items() for order in _BYTE_ORDERS}


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of that name, in native byte order.

    Raises:
        UsageError: when no such format is known.
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        raise UsageError(f"unknown dtype {name!r}; choose one of {', '.join(NAMES)}") from None


def name_of(array: npt.NDArray[Any] | np.dtype[Any]) -> str:
    """The name of an array's (or a dtype's) number format, whatever its byte order.

    Raises:
        UsageError: when it is not a real number format, e.g. complex numbers, strings or objects.
    """
    dtype = array if isinstance(array, np.dtype) else array.dtype
    try:
        return _NAME_OF[dtype]
    except KeyError:
        known = ", ".join(NAMES)
        raise UsageError(f"a tensor of dtype {dtype.name} cannot be measured; convert it to one of {known}") from None


def is_float(name: str) -> bool:
    """True for the floating-point formats, False for integers and bool."""
    return name in _FLOATS or name in _SMALL_FLOATS


def kind_of(name: str) -> str:
    """The contract's kind of a number format: ``float``, ``integer`` or ``mask``."""
    return "mask" if name == "bool" else "float" if is_float(name) else "integer"


def number_format(arithmetic: str) -> str:
    """The number format of an arithmetic ``<number format>[-<qualifier>]``: ``float16`` of ``float16-ane``.

    Raises:
        UsageError: when it begins with no known format.
    """
    name = arithmetic.partition("-")[0]
    numpy_dtype(name)
    return name


@lru_cache
def unit_roundoff(arithmetic: str) -> float:
    """Largest relative error of rounding one number to its format: half the distance from 1 to the next number.

    Raises:
        UsageError: when the name is unknown, or names integers or bool, which do not round.
    """
    name = number_format(arithmetic)
    dtype = numpy_dtype(name)
    if not is_float(name):
        raise UsageError(f"{name} does not round, so it has no unit roundoff; choose a floating-point dtype")
    return float(ml_dtypes.finfo(dtype).eps) / 2


def working_dtype(name: str) -> np.dtype[Any]:
    """The narrower of float32 and float64 that holds every value of the format (int64: up to 2**53)."""
    return _BY_NAME["float32" if name in _EXACT_IN_FLOAT32 else "float64"]


def as_float64(array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """`array` (any shape) in float64: exact for every format but integers beyond 2**53; a float64 array is not copied.

    Raises:
        UsageError: when the array does not hold real numbers.
    """
    name_of(array)
    return array.astype(np.float64, copy=False)
