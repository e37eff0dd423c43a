"""Torch tensors of the reference as NumPy arrays in the contract's axes, and back."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

from parity.backend import Tensors
from parity.contract import Step


class TorchTensors(Tensors):
    """Masks are boolean in the contract, True = visible. The reference has three forms.

    The language model's are additive (0 or the least number) or boolean, and the audio attention's boolean, both with a
    head axis; the audio tower's ``clip frame`` is boolean, True = padding.
    """

    def to_numpy(self, value: torch.Tensor, step: Step | None) -> NDArray[Any]:
        """A view where possible: the recorder copies what it keeps, for the reference changes tensors in place.

        What a device holds is copied from there.
        """
        value = value.detach().cpu()
        if step is not None and step.kind == "mask":
            value = _visible(value)
        if value.dtype == torch.bfloat16:
            return value.contiguous().view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
        array: NDArray[Any] = value.numpy()
        return array

    def fits(self, value: torch.Tensor, shape: tuple[int, ...], step: Step | None) -> bool:
        """Compare without the head axis of a mask."""
        own = _visible(value).shape if step is not None and step.kind == "mask" else value.shape
        return tuple(own) == shape

    def from_numpy(self, array: NDArray[Any], like: torch.Tensor, step: Step | None) -> torch.Tensor:
        """A copy of `array` in the dtype of `like`; a mask takes the reference's form again."""
        if step is not None and step.kind == "mask":
            return _as_in_reference(torch.from_numpy(array.copy()), like)
        wide = array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array.copy()
        return torch.from_numpy(wide).to(like.dtype).to(like.device)


def _visible(mask: torch.Tensor) -> torch.Tensor:
    if mask.ndim == 2:
        return ~mask
    return mask[:, 0] if mask.dtype == torch.bool else mask[:, 0] == 0


def _as_in_reference(visible: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    visible = visible.to(like.device)
    if like.ndim == 2:
        return ~visible
    if like.dtype == torch.bool:
        return visible[:, None]
    return torch.where(visible[:, None], 0.0, torch.finfo(like.dtype).min).to(like.dtype)
