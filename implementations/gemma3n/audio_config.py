"""Configuration of the audio tower: a conformer behind two subsampling convolutions.

Names are config.json's: ``conf`` is the conformer, ``sscp`` the subsampling convolutions and their projection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from implementations.gemma3n.fields import build, numbers, sequence
from implementations.gemma3n.modality import ModalityConfig
from parity.errors import UsageError

WHERE = "audio_config"
Pair = tuple[int, int]


@dataclass(frozen=True)
class AudioConfig(ModalityConfig):
    """The audio tower and its embedder.

    Attributes:
        input_feat_size: bands of the mel features.
        gradient_clipping: bound of what enters and leaves a conformer's parts, at inference too.
        conf_attention_chunk_size: frames of a block, which share one context.
        conf_attention_context_left: frames that a query sees up to and with its own.
        conf_attention_context_right: frames ahead that it sees.
        conf_attention_logit_cap: soft-cap of attention's scores.
        conf_conv_kernel_size: frames under the light convolution.
        conf_reduction_factor: of so many frames of the last block the first is kept.
        conf_residual_weight: weight of each feed-forward beside its input.
        sscp_conv_channel_size: channels of the two subsampling convolutions.
        sscp_conv_kernel_size: their kernels, time and frequency.
        sscp_conv_stride_size: their strides, time and frequency.

    Raises:
        UsageError: where fields contradict each other.
    """

    vocab_offset: int = 262_272
    hidden_size: int = 1536
    input_feat_size: int = 128
    gradient_clipping: float = 1e10
    conf_attention_chunk_size: int = 12
    conf_attention_context_left: int = 13
    conf_attention_context_right: int = 0
    conf_attention_logit_cap: float = 50.0
    conf_num_attention_heads: int = 8
    conf_num_hidden_layers: int = 12
    conf_conv_kernel_size: int = 5
    conf_reduction_factor: int = 4
    conf_residual_weight: float = 0.5
    sscp_conv_channel_size: Pair = (128, 32)
    sscp_conv_group_norm_eps: float = 1e-3
    sscp_conv_kernel_size: tuple[Pair, Pair] = ((3, 3), (3, 3))
    sscp_conv_stride_size: tuple[Pair, Pair] = ((2, 2), (2, 2))

    def __post_init__(self) -> None:
        _require_audio(self)

    @property
    def head_dim(self) -> int:
        """Width of an attention head."""
        return self.hidden_size // self.conf_num_attention_heads

    @property
    def past(self) -> int:
        """Frames before its own that a query sees."""
        return max(0, self.conf_attention_context_left - 1)

    @property
    def bands(self) -> Pair:
        """Frequency bands behind each subsampling convolution, whose input is padded by one band on either side."""
        first, second = zip(self.sscp_conv_kernel_size, self.sscp_conv_stride_size, strict=True)
        between = _bands(self.input_feat_size, *first)
        return between, _bands(between, *second)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AudioConfig:
        """Read the `audio_config` section of config.json."""
        return build(
            cls,
            data,
            WHERE,
            sscp_conv_channel_size=_pair(data, "sscp_conv_channel_size", cls.sscp_conv_channel_size),
            sscp_conv_kernel_size=_pairs(data, "sscp_conv_kernel_size", cls.sscp_conv_kernel_size),
            sscp_conv_stride_size=_pairs(data, "sscp_conv_stride_size", cls.sscp_conv_stride_size),
        )


def _pair(data: Mapping[str, Any], name: str, default: Any) -> Pair:
    first, second = numbers(sequence(data, name, 2, default, WHERE), int, f"{WHERE}.{name}")
    return first, second


def _pairs(data: Mapping[str, Any], name: str, default: Any) -> tuple[Pair, Pair]:
    first, second = (_pair({name: each}, name, each) for each in sequence(data, name, 2, default, WHERE))
    return first, second


def _bands(bands: int, kernel: Pair, stride: Pair) -> int:
    return (bands + 2 - kernel[1]) // stride[1] + 1


def _require_audio(config: AudioConfig) -> None:
    may_be_zero = {"vocab_offset", "conf_attention_context_left", "conf_attention_context_right"}
    for name, value in vars(config).items():
        if name in may_be_zero and value < 0:
            raise UsageError(f"config.json: {WHERE}.{name} is {value}, negative")
        if name not in may_be_zero and not _is_positive(value):
            raise UsageError(f"config.json: {WHERE}.{name} is {value}, not positive")
    if config.hidden_size % config.conf_num_attention_heads:
        heads = f"{config.hidden_size} channels for {config.conf_num_attention_heads} heads"
        raise UsageError(f"config.json: {WHERE}: {heads}: not a multiple")
    if config.hidden_size % 2:
        raise UsageError(f"config.json: {WHERE}.hidden_size {config.hidden_size} is odd: sines and cosines pair")
    if min(config.bands) < 1:
        raise UsageError(f"config.json: {WHERE}: the subsampling leaves none of {config.input_feat_size} bands")


def _is_positive(value: Any) -> bool:
    return all(map(_is_positive, value)) if isinstance(value, tuple) else bool(value > 0)
