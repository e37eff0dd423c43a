"""MLX arrays to NumPy and back."""

from __future__ import annotations

from typing import Any, ClassVar

import ml_dtypes
import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from parity.backend import Tensors
from parity.contract import Step


class MlxTensors(Tensors):
    """Values are in the contract's axes already. They are lazy: reading one computes it."""

    lazy: ClassVar[bool] = True

    def to_numpy(self, value: mx.array, step: Step | None) -> NDArray[Any]:
        """The array in its own dtype; bfloat16, which NumPy lacks, through a 16-bit view."""
        if value.dtype == mx.bfloat16:
            return np.array(value.view(mx.uint16)).view(ml_dtypes.bfloat16)
        return np.array(value)

    def from_numpy(self, array: NDArray[Any], like: mx.array, step: Step | None) -> mx.array:
        """A new array of like's dtype. Rounding happens in NumPy: MLX has no float64 on a GPU."""
        if like.dtype == mx.bfloat16:
            return mx.array(np.ascontiguousarray(array, dtype=ml_dtypes.bfloat16).view(np.uint16)).view(mx.bfloat16)
        return mx.array(np.asarray(array, dtype=_numpy_dtype(like.dtype)))


def _numpy_dtype(dtype: mx.Dtype) -> np.dtype[Any]:
    """The NumPy dtype of the same name: ``mlx.core.float32`` is float32, ``mlx.core.bool`` is bool."""
    return np.dtype(str(dtype).rpartition(".")[2].rstrip("_"))
