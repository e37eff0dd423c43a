"""NumPy arrays as they are: what a backend makes on the host, such as token ids and waveforms, needs no translation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Tensors
from parity.contract import Step


class HostTensors(Tensors):
    """Arrays that are in the contract's axes already."""

    def to_numpy(self, value: NDArray[Any], step: Step | None) -> NDArray[Any]:
        """The array itself."""
        return value

    def from_numpy(self, array: NDArray[Any], like: NDArray[Any], step: Step | None) -> NDArray[Any]:
        """A copy in the dtype of `like`."""
        return np.array(array, dtype=like.dtype)
