"""A waveform to log-mel features, as `Gemma3nAudioFeatureExtractor` of transformers computes them.

A frame of 32 ms every 10 ms is pre-emphasised, windowed, padded with zeros to twice its length and transformed; 128
triangles, evenly wide on the mel scale, sum the magnitudes; the natural logarithm ends at a floor.

The precision is the reference's, stage by stage: float32 up to the magnitudes, float64 from the filters to the
logarithm, float32 again for what the model gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.preprocessing.banded import Banded
from implementations.gemma3n.preprocessing.settings import PAD_TO, AudioSettings

STRIP = 128
"""Frames transformed at a time: they stay in the cache."""


def padded(waveforms: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Clips of unequal length as one batch ``[clip sample]``: zeros behind each, up to the longest one's end."""
    samples = np.zeros((len(waveforms), max(map(len, waveforms), default=0)), np.float32)
    for clip, waveform in enumerate(waveforms):
        samples[clip, : len(waveform)] = waveform
    return samples


def log_mel(samples: NDArray[np.float32], settings: AudioSettings) -> NDArray[np.float32]:
    """Features ``[clip frame mel]`` of padded waveforms ``[clip sample]``; the natural logarithm of magnitudes."""
    length = _transformed(samples.shape[1])
    result = np.empty((len(samples), settings.frames(length), settings.bins), np.float32)
    for clip, waveform in enumerate(samples):
        _features(np.pad(waveform, (0, length - len(waveform))), settings, result[clip])
    return result


def frame_mask(lengths: Sequence[int], settings: AudioSettings) -> NDArray[np.bool_]:
    """Which frames ``[clip frame]`` count: those that begin within their clip, of so many samples."""
    frames = settings.frames(_transformed(max(lengths, default=0)))
    begins = np.arange(frames) * settings.hop_length
    return begins < np.array(lengths, np.int64)[:, None]


def _transformed(samples: int) -> int:
    """Samples with the zeros that the reference puts behind a batch: a multiple of 128."""
    return -(-samples // PAD_TO) * PAD_TO


def _features(waveform: NDArray[np.float32], settings: AudioSettings, result: NDArray[np.float32]) -> None:
    filters, window = mel_filters(settings), hann(settings.frame_length)
    if settings.gain != 1:
        waveform = waveform * np.float32(settings.gain)
    for begin in range(0, len(result), STRIP):
        end = min(begin + STRIP, len(result))
        frames = emphasised(waveform, begin, end, settings)
        frames[:, : settings.frame_length] *= window
        magnitudes = np.abs(np.fft.rfft(frames, axis=1))
        energies = filters.right_of(magnitudes, out=np.empty((end - begin, settings.bins)))
        result[begin:end] = np.log(np.maximum(energies, settings.floor))


def emphasised(waveform: NDArray[np.float32], begin: int, end: int, settings: AudioSettings) -> NDArray[np.float32]:
    """Frames `begin` to `end` of ``[sample]``, behind each zeros up to the FFT's length: ``[frame sample]``.

    Each sample loses a share of the one before it. A frame's first, which has none, loses the share of itself (as HTK
    has it).
    """
    hop, length = settings.hop_length, settings.frame_length
    part = waveform[begin * hop : (end - 1) * hop + length]
    windows = np.lib.stride_tricks.sliding_window_view(part, length)[::hop]
    frames = np.zeros((end - begin, settings.fft_length), np.float32)
    # float32 factors: the reference's Python floats take the array's precision.
    np.multiply(windows[:, 0], np.float32(1 - settings.preemphasis), out=frames[:, 0])
    lost = np.lib.stride_tricks.sliding_window_view(part * np.float32(settings.preemphasis), length)[::hop]
    np.subtract(windows[:, 1:], lost[:, :-1], out=frames[:, 1:length])
    return frames


@lru_cache(maxsize=4)
def hann(length: int) -> NDArray[np.float32]:
    """The periodic Hann window ``[sample]``: zero at its first sample, and again one beyond its last.

    Angles are float32, as the reference's are: rounded ones move quiet bins by up to 1e-4.
    """
    angles = np.arange(length, dtype=np.float32) * np.float32(2 * np.pi) / np.float32(length)
    return np.float32(0.5) - np.float32(0.5) * np.cos(angles)


@lru_cache(maxsize=4)
def mel_filters(settings: AudioSettings) -> Banded:
    """Triangles over the FFT's frequencies, ``[frequency mel]``, float64, each of height 1 and as wide as two steps.

    The mel scale is HTK's, 2595 log10(1 + f / 700), evenly stepped from the lowest to the highest frequency.
    """
    ends = 2595 * np.log10(1 + np.array([settings.lowest, settings.highest]) / 700)
    corners = 700 * (10 ** (np.linspace(ends[0], ends[1], settings.bins + 2) / 2595) - 1)
    frequencies = np.arange(settings.fft_length // 2 + 1) * (settings.sampling_rate / settings.fft_length)
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (frequencies[:, None] - left) / (centre - left)
    falling = (right - frequencies[:, None]) / (right - centre)
    return Banded.of(np.maximum(0, np.minimum(rising, falling)))
