"""What is less exact than it could be in mlx-vlm 0.7.10's audio tower. Nothing was found wrong in it."""

from __future__ import annotations

from implementations.mlx_packages.patch import Patch
from implementations.mlx_vlm.media import SOUND
from parity.fault import Kind
from parity.weave import Edit

_NORM = "mlx_vlm.models.gemma3n.audio:Gemma3nCumulativeGroupNorm.__call__"
_VALUES = "mx.sum(\n        x_masked_for_sum, axis=self.reduction_axes, keepdims=True\n    )"
_SQUARED = "squared_diff_from_mean * mask_calc"
_SQUARES = f"mx.sum(\n        {_SQUARED},\n        axis=self.reduction_axes,\n        keepdims=True,\n    )"


def _by_axes(summand: str) -> str:
    return f"mx.sum(mx.sum({summand}, axis=-1, keepdims=True), axis=self.reduction_axes, keepdims=True)"


GROUP_SUMS = Patch(
    name="group-sums",
    wrong="The cumulative group norm's `mx.sum` adds a frame's 8,192 values one after the other on the CPU.",
    kind=Kind.NUMERICS,
    reached="MLX's CPU device, with a sound.",
    edits=(
        Edit(_NORM, _VALUES, _by_axes("x_masked_for_sum")),
        Edit(_NORM, _SQUARES, _by_axes(_SQUARED)),
    ),
    steps=("audio.*.norm.cum_mean", "audio.*.norm.cum_variance"),
    inputs=SOUND,
    dtypes=("float32",),
)

AUDIO_PATCHES = (GROUP_SUMS,)
