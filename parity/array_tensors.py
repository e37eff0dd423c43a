"""Arrays of any framework that follows the array API standard, as JAX's, CuPy's and NumPy's do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Tensors
from parity.contract import Step
from parity.dtypes import numpy_dtype
from parity.errors import UsageError


class ArrayTensors(Tensors):
    """Arrays that are in the contract's axes; those that answer are made by the namespace of those that were shown."""

    def to_numpy(self, value: Any, step: Step | None) -> NDArray[Any]:
        """The array in its own dtype."""
        return np.asarray(value)

    def from_numpy(self, array: NDArray[Any], like: Any, step: Step | None) -> Any:
        """A new array of like's dtype, on its device. Rounding happens in NumPy: many frameworks have no float64.

        Raises:
            UsageError: for an array without a namespace, such as torch's.
        """
        if not hasattr(like, "__array_namespace__"):
            raise UsageError(
                f"{type(like)} has no __array_namespace__ to make another by: give the port its own tensors"
            )
        rounded = np.asarray(array, numpy_dtype(dtype_of(like)))
        return like.__array_namespace__().asarray(rounded, dtype=like.dtype, device=like.device, copy=True)


def dtype_of(array: Any) -> str:
    """The name of an array's dtype without the name of its framework."""
    return str(array.dtype).rpartition(".")[2]


def is_array(value: object) -> bool:
    """Whether a value is an array of real numbers.

    What is only traced, as inside of a compiled function, has a shape and a dtype but no memory that it could tell the
    place of.
    """
    return hasattr(value, "__dlpack_device__") and "float" in str(getattr(value, "dtype", ""))
