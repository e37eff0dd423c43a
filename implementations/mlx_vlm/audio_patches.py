"""What is wrong, or less exact than it could be, in mlx-vlm 0.7.10's audio tower."""

from __future__ import annotations

from implementations.mlx_packages.patch import Patch
from implementations.mlx_vlm.media import SOUND, STEREO
from parity.fault import Kind
from parity.site import Edit

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

GROUP_NORM_EPSILON = Patch(
    name="group-norm-epsilon",
    wrong="The cumulative group norms' epsilon is read from `sscp_conv_eps`, where the reference and its config.json "
    "have `sscp_conv_group_norm_eps`, so that it is always 1e-3.",
    kind=Kind.UNREACHABLE,
    reached="Another `sscp_conv_group_norm_eps` than the reference's default of 1e-3, which is not known of any "
    "published checkpoint; shown with 1e-2.",
    edits=(
        Edit(
            "mlx_vlm.models.gemma3n.audio:Gemma3nAudioSSCPConvBlock.__init__",
            "self.config.sscp_conv_eps",
            "self.config.sscp_conv_group_norm_eps",
        ),
    ),
    steps=("audio.*.normed",),
    proof="test_epsilon_of_group_norms_has_another_name",
)

RESAMPLER = Patch(
    name="resampler",
    wrong="A sound at another rate than the processor's goes through a Kaiser-windowed filter of mlx-audio, the "
    "reference's through soxr's of high quality: what is near the lower of both Nyquist rates is cut elsewhere.",
    kind=Kind.DELIBERATE,
    reached="A sound of any other rate than 16 kHz.",
    edits=(
        Edit(
            "mlx_vlm.utils:load_audio",
            "audio = resample_audio(audio, sample_rate, sr)",
            "audio = __import__('soxr').resample(audio, sample_rate, sr, quality='HQ')",
        ),
    ),
    steps=("processor.waveform",),
    inputs=STEREO,
)

AUDIO_PATCHES = (GROUP_SUMS, GROUP_NORM_EPSILON, RESAMPLER)
