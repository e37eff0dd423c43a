"""What the settings files of a checkpoint may hold: the fields that bear on the input, with the values that are known.

Defaults are those of the reference's classes (`SiglipImageProcessor`, `Gemma3nAudioFeatureExtractor`).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(gt=0, le=1 << 20)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Channels = tuple[float, float, float]


class SettingsFile(BaseModel):
    """A JSON file, of which others read other fields."""

    model_config = ConfigDict(frozen=True)


class Size(SettingsFile):
    """Of the pixels: the same for images of every shape."""

    height: Annotated[int, Field(gt=0, le=4096)]
    width: Annotated[int, Field(gt=0, le=4096)]


class ImageFile(SettingsFile):
    """The image processor."""

    image_processor_type: Literal["SiglipImageProcessor", "SiglipImageProcessorFast"]
    do_resize: Literal[True] = True
    do_rescale: Literal[True] = True
    do_center_crop: Literal[False] | None = None
    do_pad: Literal[False] | None = None
    do_normalize: bool = True
    resample: Literal[2]  # bilinear; the reference's default is another
    size: Size
    rescale_factor: Positive = 1 / 255
    image_mean: Channels = (0.5, 0.5, 0.5)
    image_std: tuple[Positive, Positive, Positive] = (0.5, 0.5, 0.5)


class AudioFile(SettingsFile):
    """The feature extractor. Lengths are in milliseconds; the reference computes those in samples from them."""

    feature_extractor_type: Literal["Gemma3nAudioFeatureExtractor"]
    sampling_rate: Count = 16_000
    feature_size: Count = 128
    frame_length_ms: Positive = 32.0
    hop_length_ms: Positive = 10.0
    min_frequency: Positive = 125.0
    max_frequency: Positive = 7600.0
    preemphasis: Annotated[float, Field(ge=0, lt=1)] = 0.97
    preemphasis_htk_flavor: Literal[True] = True
    fft_overdrive: bool = True
    input_scale_factor: Positive = 1.0
    mel_floor: Positive = 1e-5
    dither: Annotated[float, Field(ge=0, le=0)] = 0.0  # noise: the reference itself would differ from run to run
    padding_side: Literal["right"] = "right"
    padding_value: Annotated[float, Field(ge=0, le=0)] = 0.0
    per_bin_mean: None = None
    per_bin_stddev: None = None
    # The reference ignores these three, which published files hold; another value than the computed one is a mistake.
    frame_length: int | None = None
    hop_length: int | None = None
    fft_length: int | None = None

    @property
    def frame_samples(self) -> int:
        """Of a window."""
        return round(self.sampling_rate * self.frame_length_ms / 1000)

    @property
    def hop_samples(self) -> int:
        """From one window to the next."""
        return round(self.sampling_rate * self.hop_length_ms / 1000)

    @property
    def transform_samples(self) -> int:
        """The power of two that holds a window; twice that with overdrive, which interpolates the spectrum."""
        return int(2 ** math.ceil(math.log2(self.frame_samples)) * (2 if self.fft_overdrive else 1))

    @model_validator(mode="after")
    def _consistent(self) -> AudioFile:
        if self.frame_samples < 2 or self.hop_samples < 1:
            raise ValueError("a frame of less than two samples, or a hop of none")
        for name, computed in (
            ("frame_length", self.frame_samples),
            ("hop_length", self.hop_samples),
            ("fft_length", self.transform_samples),
        ):
            if (written := getattr(self, name)) not in (None, computed):
                raise ValueError(f"{name} is {written}, but the lengths in milliseconds make it {computed}")
        if not self.min_frequency < self.max_frequency <= self.sampling_rate / 2:
            raise ValueError("min_frequency, max_frequency and half the sampling rate must ascend")
        return self


class ProcessorFile(SettingsFile):
    """processor_config.json: how many soft tokens an image and a clip become; defaults of `Gemma3nProcessor`."""

    image_seq_length: Count = 256
    audio_seq_length: Count = 188


class AudioReduction(SettingsFile):
    """What shortens the frames on their way to soft tokens: two strided convolutions, then every n-th one."""

    sscp_conv_stride_size: tuple[tuple[Count, Count], ...] = ((2, 2), (2, 2))
    conf_reduction_factor: Count = 4


class ModelFile(SettingsFile):
    """config.json: what the model replaces; ids of the published checkpoints."""

    image_token_id: int = 262_145
    boi_token_id: int = 255_999
    eoi_token_id: int = 262_144
    audio_token_id: int = 262_273
    boa_token_id: int = 256_000
    eoa_token_id: int = 262_272
    vision_soft_tokens_per_image: Count = 256
    audio_soft_tokens_per_image: Count = 188
    audio_config: AudioReduction = AudioReduction()

    @property
    def frames_per_soft_token(self) -> int:
        """Mel frames from one soft token to the next: 16 of 10 ms in published checkpoints."""
        strides = (time for time, _ in self.audio_config.sscp_conv_stride_size)
        return math.prod(strides) * self.audio_config.conf_reduction_factor
