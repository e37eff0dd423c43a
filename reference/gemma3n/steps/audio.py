"""The steps of Gemma 3n's audio path around the conformer, in execution order: mel features to soft tokens.

Axes: ``clip`` is one sound, ``frame`` a point in time (10 ms of mel features; 40 ms behind the subsampling; 160 ms
behind the reduction), ``mel`` a frequency band. Masks are True where a frame is sound; the reference's tower calls
padding True, and `TorchTensors` translates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parity.contract import Step
from reference.common.steps import StepAt
from reference.gemma3n.steps.audio_block import BLOCK_STEPS, CONFORMER, USM
from reference.gemma3n.steps.source import RMSNORM, assigned, parameter, returned

if TYPE_CHECKING:
    from transformers.models.gemma3n.modeling_gemma3n import Gemma3nModel

GROUP_NORM = "https://arxiv.org/abs/1803.08494"

ENCODER = "Gemma3nAudioEncoder.forward"
SUBSAMPLE = "Gemma3nAudioSubSampleConvProjection.forward"
CONVOLUTION = "Gemma3nAudioSSCPConvBlock.forward"
CUMULATIVE = "Gemma3nAudioCumulativeGroupNorm.forward"
FEATURES, MODEL = "Gemma3nModel.get_audio_features", "Gemma3nModel.forward"

FRAMES, MASK = "clip frame hidden", "clip frame"
MAPS, STATISTIC = "clip channel frame mel", "clip frame one one"


def reduces(config: Any, layer: int) -> bool:
    """The tower keeps only every n-th of the conformer's frames; `config` is a `Gemma3nAudioConfig`."""
    return bool(config.conf_reduction_factor > 1)


INPUT_STEPS = (
    StepAt("audio.mel", "clip frame mel", "log-mel features as the tower receives them",
           parameter(ENCODER, "audio_mel"), paper=USM),
    StepAt("audio.mask", MASK, "which mel frames are sound, not padding; the reference's is the negation",
           parameter(ENCODER, "audio_mel_mask"), kind="mask"),
)  # fmt: skip

CONVOLVED = (
    StepAt("audio.{path}.conv", MAPS,
           "strided convolution; kernel - 1 zero frames behind the clip, one zero band on either side",
           assigned(CONVOLUTION, "audio_encodings_conv"), paper=USM),
)  # fmt: skip

STATISTICS = (
    StepAt("audio.{path}.cum_mean", STATISTIC, "mean over all channels and bands of this frame and those before it",
           assigned(CUMULATIVE, "cum_mean"), paper=GROUP_NORM),
    StepAt("audio.{path}.cum_variance", STATISTIC,
           "mean of (x - cum_mean)^2 over this frame and those before it, each frame held against its own mean",
           assigned(CUMULATIVE, "cum_variance"), paper=GROUP_NORM),
)  # fmt: skip

NORMED = (
    StepAt("audio.{path}.normed", MAPS,
           "cumulative group norm: (x - cum_mean) / sqrt(cum_variance + sscp_conv_group_norm_eps) x gain",
           assigned(CONVOLUTION, "audio_encodings_normed"), paper=GROUP_NORM),
    StepAt("audio.{path}.out", MAPS, "relu of the normed convolution", returned(CONVOLUTION), paper=USM),
)  # fmt: skip

PROJECTED = (
    StepAt("audio.{path}.flattened", "clip frame feature", "bands of a frame side by side, each with all its channels",
           assigned(SUBSAMPLE, "output_flattened"), paper=USM),
    StepAt("audio.{path}.out", FRAMES, "projection to the conformer's width", assigned(SUBSAMPLE, "output"), paper=USM),
)  # fmt: skip

SUBSAMPLED_MASK = (
    StepAt("audio.subsampled_mask", MASK, "mask at the first mel frame under each subsampled one, or at the last frame",
           assigned(ENCODER, "current_mask", 0), kind="mask"),
)  # fmt: skip

REDUCED = (
    StepAt("audio.reduced", FRAMES, "every conf_reduction_factor-th frame of the conformer's, from the first on",
           assigned(ENCODER, "audio_encodings", 2), paper=CONFORMER, only=reduces),
    StepAt("audio.reduced_mask", MASK, "mask of these frames", assigned(ENCODER, "current_mask", 1), kind="mask",
           only=reduces),
    StepAt("audio.out", FRAMES, "the tower's features: padded frames are zero",
           assigned(ENCODER, "audio_encodings", 3)),
)  # fmt: skip

SOFT = (
    StepAt("embed_audio.soft", FRAMES, "features in the language model's space: norm(projection(norm(features)))",
           assigned(FEATURES, "audio_embeds"), paper=RMSNORM),
    StepAt("embed_audio.padding", "one one hidden", "hard embedding of the last audio id, for where there is no sound",
           assigned(MODEL, "audio_padding_embs")),
    StepAt("embed_audio.soft_tokens", "clip soft_token hidden",
           "features with the padding embedding in padded frames and behind them, up to the count of soft tokens",
           assigned(MODEL, "audio_features", 3)),
)  # fmt: skip

SUBSAMPLING = "subsample_conv_projection"


def _families(config: Any) -> Iterator[tuple[str, tuple[StepAt, ...]]]:
    """Path of a module inside the tower, and steps of it, in execution order."""
    yield "", INPUT_STEPS
    for convolution in (f"{SUBSAMPLING}.conv_0", f"{SUBSAMPLING}.conv_1"):
        yield convolution, CONVOLVED
        yield f"{convolution}.norm", STATISTICS
        yield convolution, NORMED
    yield SUBSAMPLING, PROJECTED
    yield "", SUBSAMPLED_MASK
    for layer in range(config.conf_num_hidden_layers):
        for path, steps in BLOCK_STEPS:
            yield f"conformer.{layer}.{path}".rstrip("."), steps
    yield "", REDUCED
    yield "", SOFT


IN_BLOCK = tuple(dict.fromkeys(step for _, steps in BLOCK_STEPS for step in steps))
AUDIO_STEPS = tuple(
    replace(step, needs="audio")
    for step in (
        *INPUT_STEPS, *CONVOLVED, *STATISTICS, *NORMED, *PROJECTED, *SUBSAMPLED_MASK, *IN_BLOCK, *REDUCED, *SOFT,
    )
)  # fmt: skip
"""Every family of the audio path's steps with its site."""


def audio_steps(model: Gemma3nModel) -> Iterator[Step]:
    """The steps of a loaded model's audio path, in execution order."""
    config: Any = model.audio_tower.config
    for path, families in _families(config):
        for family in families:
            if family.only(config, 0):
                yield replace(family, needs="audio").step(path=path)
