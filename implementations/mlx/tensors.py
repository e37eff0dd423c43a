"""MLX arrays to NumPy and back."""

from __future__ import annotations

from typing import Any, ClassVar

import ml_dtypes
import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from parity.backend import Tensors
from parity.contract import Step

LAYOUTS = {
    "clip channel frame mel": (0, 3, 1, 2),
    "image channel height width": (0, 3, 1, 2),
}
"""Axes whose order is another in MLX, where channels are last: which of MLX's axes stands at each of the contract's."""


class MlxTensors(Tensors):
    """Values are in the contract's axes, but for feature maps. They are lazy: reading one computes it."""

    lazy: ClassVar[bool] = True

    def to_numpy(self, value: mx.array, step: Step | None) -> NDArray[Any]:
        """The array in its own dtype; bfloat16, which NumPy lacks, through a 16-bit view."""
        if value.dtype == mx.bfloat16:
            array = np.array(value.view(mx.uint16)).view(ml_dtypes.bfloat16)
        else:
            array = np.array(value)
        layout = _layout(step)
        return array.transpose(layout) if layout else array

    def fits(self, value: mx.array, shape: tuple[int, ...], step: Step | None) -> bool:
        """Compare in the contract's order."""
        layout = _layout(step)
        return (tuple(value.shape[axis] for axis in layout) if layout else tuple(value.shape)) == shape

    def from_numpy(self, array: NDArray[Any], like: mx.array, step: Step | None) -> mx.array:
        """A new array of like's dtype. Rounding happens in NumPy: MLX has no float64 on a GPU."""
        if layout := _layout(step):
            array = array.transpose(np.argsort(layout))
        if like.dtype == mx.bfloat16:
            return mx.array(np.ascontiguousarray(array, dtype=ml_dtypes.bfloat16).view(np.uint16)).view(mx.bfloat16)
        return mx.array(np.asarray(array, dtype=_numpy_dtype(like.dtype)))


def _layout(step: Step | None) -> tuple[int, ...] | None:
    return LAYOUTS.get(" ".join(step.axes)) if step else None


def _numpy_dtype(dtype: mx.Dtype) -> np.dtype[Any]:
    """The NumPy dtype of the same name: ``mlx.core.float32`` is float32, ``mlx.core.bool`` is bool."""
    return np.dtype(str(dtype).rpartition(".")[2].rstrip("_"))
