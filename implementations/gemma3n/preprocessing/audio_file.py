"""An audio file to a waveform at the model's sampling rate, as the reference's `load_audio` has it with soundfile.

libsndfile decodes (WAV, FLAC, Ogg, MP3, AIFF and more), channels are averaged, soxr resamples at its HQ setting. A clip
that the model cannot take whole is refused: the reference cuts it at 30 s without a word.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.preprocessing.media_file import Source, Steady, name_of, opened, requires
from implementations.gemma3n.preprocessing.settings import AudioSettings
from parity.errors import UsageError

if TYPE_CHECKING:
    from soundfile import SoundFile

MOST_VALUES = 1 << 28
"""Samples times channels that are decoded: 1 GiB."""
FASTEST = 768_000
"""In Hz, the highest rate of any converter on sale: bounds the samples of a clip of 30 s."""
OPEN_ENDED = 0x7FFF_0000
"""Sizes from here on are those that programs write which do not know how much sound will follow."""
LAST_PAGE = 4
"""Flag of the page that ends an Ogg stream."""
LONGEST_PAGE = 65_307
"""Bytes of an Ogg page: a header of 27, 255 segments of at most 255 and their sizes."""


@dataclass(frozen=True)
class Clip:
    """A clip of audio.

    Attributes:
        source: where it came from, for messages.
        waveform: ``[sample]``, float32, mono at the model's sampling rate, full scale at 1.
    """

    source: str
    waveform: NDArray[np.float32] = field(repr=False)


def load_clip(source: Source, settings: AudioSettings) -> Clip:
    """Decode, mix to one channel and resample.

    Raises:
        UsageError: for a file that is missing, truncated, no audio, or silent for want of samples; one that is longer
            than the model takes or shorter than one frame; samples that are not finite.
        BackendUnavailable: where soundfile or soxr is not installed.
    """
    where = f"audio {name_of(source)}"
    samples, rate = _decoded(source, where, settings)
    waveform = resample(samples, rate, settings.sampling_rate)
    if not np.isfinite(waveform).all():
        raise UsageError(f"{where}: a sample is NaN or infinite")
    _require_length(len(waveform), where, settings)
    return Clip(name_of(source), waveform)


def resample(samples: NDArray[np.float32], rate: int, target: int) -> NDArray[np.float32]:
    """The waveform ``[sample]`` at `target` instead of `rate` Hz: as many samples as begin within its time."""
    if rate == target:
        return samples
    with requires("soxr"):
        import soxr
    found = soxr.resample(samples, rate, target, quality="soxr_hq")
    # soxr rounds the length; the reference (as librosa) rounds it up.
    result = np.zeros(_resampled(len(samples), rate, target), np.float32)
    count = min(len(found), len(result))
    result[:count] = found[:count]
    return result


def _resampled(samples: int, rate: int, target: int) -> int:
    return math.ceil(samples * target / rate)


def _decoded(source: Source, where: str, settings: AudioSettings) -> tuple[NDArray[np.float32], int]:
    """Mono samples ``[sample]`` at the file's own rate, and that rate in Hz."""
    with requires("soundfile"):
        import soundfile
    with opened(source, "audio") as stream:
        _require_whole(stream, where)
        try:
            with soundfile.SoundFile(Steady(stream)) as file:
                return _read(file, where, settings), file.samplerate
        except soundfile.LibsndfileError as error:
            raise UsageError(f"{where}: not readable as audio ({error.error_string.strip()})") from error


def _read(file: SoundFile, where: str, settings: AudioSettings) -> NDArray[np.float32]:
    if file.samplerate > FASTEST:
        raise UsageError(f"{where}: {file.samplerate} Hz; at most {FASTEST}")
    # Before anything is decoded: hours of audio should be refused at once.
    _require_at_most(_resampled(file.frames, file.samplerate, settings.sampling_rate), where, settings)
    if file.frames * file.channels > MOST_VALUES:
        raise UsageError(f"{where}: {file.frames} samples of {file.channels} channels; at most {MOST_VALUES} values")
    # In one go: soundfile seeks after every read, and MP3 decoders come out a bit different after that.
    channels = file.read(dtype="float32", always_2d=True).T
    if channels.shape[1] < file.frames:
        raise UsageError(f"{where}: truncated: {channels.shape[1]} of {file.frames} samples")
    return _mixed(channels)


def _mixed(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of ``[channel sample]``: ``[sample]``, contiguous."""
    if len(channels) == 1:
        return np.ascontiguousarray(channels[0])
    if len(channels) == 2:
        # The same bits, as two numbers have one sum, in a tenth of the time: `mean` takes the samples one by one.
        return (channels[0] + channels[1]) * np.float32(0.5)
    return channels.mean(axis=0)


def _require_length(samples: int, where: str, settings: AudioSettings) -> None:
    if samples == 0:
        raise UsageError(f"{where}: no samples")
    if samples < settings.least_samples:
        least = 1000 * settings.least_samples / settings.sampling_rate
        raise UsageError(
            f"{where}: {1000 * samples / settings.sampling_rate:.1f} ms; at least {least:.1f} ms, one frame"
        )
    _require_at_most(samples, where, settings)


def _require_at_most(samples: int, where: str, settings: AudioSettings) -> None:
    if samples <= settings.most_samples:
        return
    seconds, most = samples / settings.sampling_rate, settings.most_samples / settings.sampling_rate
    limit = f"this checkpoint takes at most {most:.2f} s ({settings.soft_tokens} soft tokens)"
    raise UsageError(f"{where}: {seconds:.2f} s; {limit}")


def _require_whole(stream: BinaryIO, where: str) -> None:
    """Find the cut that libsndfile passes over: it reads what there is of a WAV, AIFF or Ogg file."""
    start = stream.read(12)
    size = stream.seek(0, os.SEEK_END)
    if start[:4] in (b"RIFF", b"FORM"):
        claimed = int.from_bytes(start[4:8], "little" if start[:4] == b"RIFF" else "big")
        # One byte may be the padding after an odd chunk, which some writers count and leave out.
        if claimed < OPEN_ENDED and size + 1 < claimed + 8:
            raise UsageError(f"{where}: truncated: {size} of {claimed + 8} bytes")
    if start[:4] == b"OggS":
        stream.seek(max(size - 2 * LONGEST_PAGE, 0))
        if not _ends_with_last_page(stream.read()):
            raise UsageError(f"{where}: truncated: the stream's last page is missing or cut")
    stream.seek(0)


def _ends_with_last_page(tail: bytes) -> bool:
    """Whether the end of an Ogg file is a whole page that says it is the last (RFC 3533)."""
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or not page[5] & LAST_PAGE:
        return False
    segments = page[27 : 27 + page[26]]
    return len(page) >= 27 + page[26] + sum(segments)
