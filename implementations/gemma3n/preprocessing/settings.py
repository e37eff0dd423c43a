"""How images and sound become the model's inputs: settings, which `settings_reader.py` reads from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

MOST_SAMPLES = 480_000
"""30 s at 16 kHz: `max_length` of the reference's feature extractor, where it begins to cut."""
PAD_TO = 128
"""Waveforms are padded to a multiple of so many samples: its `pad_to_multiple_of`."""


@dataclass(frozen=True)
class ImageSettings:
    """Pixels of an image.

    Attributes:
        height: of the pixels, whatever the image's shape.
        width: likewise.
        rescale_factor: 8-bit values are multiplied by it.
        mean: of each channel of [0, 1], subtracted; nothing is where it is missing.
        deviation: of each channel, divided by.
    """

    height: int
    width: int
    rescale_factor: float = 1 / 255
    mean: tuple[float, float, float] | None = None
    deviation: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class AudioSettings:
    """Mel features of a clip.

    Attributes:
        sampling_rate: in Hz.
        frame_length: samples of a window.
        hop_length: samples from one window to the next.
        fft_length: samples of a window padded with zeros.
        bins: mel filters.
        lowest: frequency where the first filter begins, in Hz.
        highest: frequency where the last filter ends, in Hz.
        preemphasis: share of the sample before that is taken away from each.
        floor: smallest energy, below which silence lies.
        gain: factor on the waveform.
        most_samples: of a clip that the model can take whole.
        soft_tokens: that the longest clip becomes.
    """

    sampling_rate: int = 16_000
    frame_length: int = 512
    hop_length: int = 160
    fft_length: int = 1024
    bins: int = 128
    lowest: float = 125.0
    highest: float = 7600.0
    preemphasis: float = 0.97
    floor: float = 1e-5
    gain: float = 1.0
    most_samples: int = MOST_SAMPLES
    soft_tokens: int = 188

    @property
    def least_samples(self) -> int:
        """The shortest clip with a frame: the reference's frames look one sample beyond their window."""
        return self.frame_length + 1

    def frames(self, samples: int) -> int:
        """Frames of a waveform, the one sample beyond each included; none of a shorter one."""
        return max((samples - self.frame_length - 1) // self.hop_length + 1, 0)


@dataclass(frozen=True)
class MediaTokens:
    """How a prompt shows an image, or a clip.

    Attributes:
        kind: "image" or "audio".
        soft: text of the token that the model replaces.
        begin: text of the token before.
        end: text of the token after.
        count: soft tokens an image or clip.
    """

    kind: str
    soft: str
    begin: str
    end: str
    count: int

    @property
    def block(self) -> str:
        """The text that one image or clip becomes."""
        return f"\n\n{self.begin}{self.soft * self.count}{self.end}\n\n"
