"""Sound to mel features: in every bit those of the reference, over formats, rates, channels, lengths and batches."""

import io
import os
import sys
import warnings

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from implementations.gemma3n.preprocessing import audio_file
from implementations.gemma3n.preprocessing.audio_file import load_clip, resample
from implementations.gemma3n.preprocessing.mel import emphasised, frame_mask, hann, log_mel, mel_filters, padded
from implementations.gemma3n.preprocessing.settings import AudioSettings
from implementations.gemma3n.preprocessing.settings_reader import ProcessorSettings
from parity.errors import BackendUnavailable, UsageError
from reference import tiny

SETTINGS = ProcessorSettings.from_directory(tiny.path()).audio
PUBLISHED = AudioSettings()
FULL_SCALE = 2**15


@pytest.fixture(scope="module")
def extractor():
    """The reference's feature extractor, as AutoProcessor finds it."""
    transformers = pytest.importorskip("transformers", reason="needs the [hf] extra")
    return transformers.AutoProcessor.from_pretrained(tiny.path()).feature_extractor


@pytest.fixture(scope="module")
def load_audio():
    """The reference's way from a file to a waveform, where torchcodec is not installed."""
    return pytest.importorskip("transformers.audio_utils", reason="needs the [hf] extra").load_audio


def sound(seconds, rate=16_000, channels=1, seed=0):
    """A rising tone in noise, ``[sample channel]``, within [-1, 1]."""
    time = np.arange(round(seconds * rate))[:, None] / rate
    noise = 0.05 * np.random.default_rng(seed).standard_normal((len(time), channels))
    return (0.3 * np.sin(2 * np.pi * 440 * time * (1 + time) + np.arange(channels)) + noise).astype(np.float32)


def stored(samples, rate=16_000, form="WAV", subtype=None):
    """The bytes of an audio file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


FORMATS = [*(("WAV", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE", "ULAW")),
           ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("AIFF", "PCM_16"), ("CAF", None),
           ("RF64", None), ("W64", None), ("AU", None)]  # fmt: skip


@pytest.mark.parametrize(("form", "subtype"), FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_is_the_references(load_audio, tmp_path, form, subtype, channels):
    path = tmp_path / "clip"
    path.write_bytes(stored(sound(1.5, 48_000, channels), 48_000, form, subtype))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip = load_clip(path, SETTINGS)
    assert clip.waveform.dtype == np.float32
    assert clip.source == str(path)
    np.testing.assert_array_equal(clip.waveform, load_audio(str(path), 16_000, backend="soundfile"))
    np.testing.assert_array_equal(clip.waveform, load_clip(path.read_bytes(), SETTINGS).waveform)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000, 12_345])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_rate_is_the_references(load_audio, tmp_path, rate, channels):
    path = tmp_path / "clip.wav"
    path.write_bytes(stored(sound(0.7, rate, channels), rate, subtype="FLOAT"))
    found = load_clip(path, SETTINGS).waveform
    np.testing.assert_array_equal(found, load_audio(str(path), 16_000, backend="soundfile"))
    assert len(found) == np.ceil(round(0.7 * rate) * 16_000 / rate)


def test_a_tone_keeps_its_pitch_and_level():
    """440 Hz at 44.1 kHz are 440 Hz at 16 kHz, to a hundredth of a per cent away from the ends."""
    time = np.arange(44_100) / 44_100
    found = resample(np.sin(2 * np.pi * 440 * time).astype(np.float32), 44_100, 16_000)
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(found - expected)[500:-500].max() < 1e-4


@given(st.integers(0, 5_000), st.integers(1, 200_000))
@settings(max_examples=40)
def test_a_resampled_clip_is_as_long_in_time(samples, rate):
    found = resample(np.zeros(samples, np.float32), rate, 16_000) if samples * 16_000 / rate < 1e6 else None
    if found is not None:
        assert 0 <= len(found) / 16_000 - samples / rate < 1 / 16_000


@pytest.mark.parametrize("counts", [[16_000], [513], [640], [641], [24_000, 16_000, 700], [5_000, 5_100], [81_920]])
def test_features_are_the_references(extractor, counts):
    """Also of a batch, whose shorter clips end in the zeros that the longest one asks for."""
    waveforms = [sound(count / 16_000, seed=count)[:, 0] for count in counts]
    expected = extractor(waveforms, return_tensors="np")
    mel, mask = log_mel(padded(waveforms), SETTINGS), frame_mask(counts, SETTINGS)
    assert mel.dtype == expected["input_features"].dtype == np.float32
    np.testing.assert_array_equal(mel, expected["input_features"])
    np.testing.assert_array_equal(mask, expected["input_features_mask"])
    assert mask.any(axis=1).all()


def test_thirty_seconds_are_the_references(extractor):
    waveform = sound(30)[:, 0]
    expected = extractor([waveform], return_tensors="np")
    np.testing.assert_array_equal(log_mel(padded([waveform]), PUBLISHED), expected["input_features"])
    np.testing.assert_array_equal(frame_mask([480_000], PUBLISHED), expected["input_features_mask"])


@pytest.mark.parametrize("kind", ["silence", "full scale", "impulse", "constant", "beyond full scale"])
def test_extreme_waveforms_are_the_references(extractor, kind):
    waveform = {
        "silence": np.zeros(3_000),
        "full scale": np.where(np.arange(3_000) // 20 % 2, 1.0, -1.0),
        "impulse": np.eye(1, 3_000, 1_234)[0],
        "constant": np.ones(3_000),
        "beyond full scale": FULL_SCALE * np.sin(np.arange(3_000)),
    }[kind].astype(np.float32)
    mel = log_mel(padded([waveform]), SETTINGS)
    np.testing.assert_array_equal(mel, extractor([waveform], return_tensors="np")["input_features"])
    assert np.isfinite(mel).all()
    if kind == "silence":
        assert (mel == np.float32(np.log(1e-5))).all()


def test_features_from_the_definition():
    """One bin of one frame, written out in float64 as a sum over time and frequency."""
    waveform, frame, bin_ = sound(0.2)[:, 0].astype(np.float64), 3, 40
    x = waveform[frame * 160 : frame * 160 + 512]
    y = np.concatenate([[x[0] * (1 - 0.97)], x[1:] - 0.97 * x[:-1]])
    y *= 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    magnitude = np.abs(np.exp(-2j * np.pi * np.outer(np.arange(513), np.arange(512)) / 1024) @ y)
    mels = np.linspace(2595 * np.log10(1 + 125 / 700), 2595 * np.log10(1 + 7600 / 700), 130)[bin_ : bin_ + 3]
    corners = 700 * (10 ** (mels / 2595) - 1)
    weight = np.interp(np.arange(513) * 15.625, corners, [0, 1, 0])
    found = log_mel(padded([waveform.astype(np.float32)]), SETTINGS)[0, frame, bin_]
    assert abs(found - np.log(max(weight @ magnitude, 1e-5))) < 1e-5


DEVIATIONS = {
    "FFT as long as the frame": {"fft_length": 512},
    "a floor of 1e-3": {"floor": 1e-3},
    "no pre-emphasis": {"preemphasis": 0.0},
    "filters up to 8 kHz": {"highest": 8000.0},
    "another gain": {"gain": 2.0},
    "another hop": {"hop_length": 161},
}


@pytest.mark.parametrize("name", DEVIATIONS)
def test_each_setting_matters(extractor, name):
    """What the comparison with the reference would find."""
    waveform = np.concatenate([sound(0.3)[:, 0], np.zeros(700, np.float32)])
    samples = padded([waveform])
    expected = extractor([waveform], return_tensors="np")["input_features"]
    deviating = log_mel(samples, AudioSettings(**DEVIATIONS[name]))
    assert deviating.shape != expected.shape or np.abs(deviating - expected).max() > 1e-3


@given(st.integers(1, 3_000), st.integers(1, 3_000))
@settings(max_examples=40)
def test_a_batch_is_its_clips(one, other):
    """A frame that lies inside a clip is the same whatever the batch; the mask counts those that begin inside."""
    waveforms = [sound(count / 16_000, seed=count)[:, 0] for count in (one, other)]
    mel, mask = log_mel(padded(waveforms), SETTINGS), frame_mask([one, other], SETTINGS)
    assert mel.shape[:2] == mask.shape
    for clip, waveform in enumerate(waveforms):
        assert mask[clip].sum() == min(-(-len(waveform) // 160), mask.shape[1])
        alone = log_mel(padded([waveform]), SETTINGS)[0]
        # Frames look a sample beyond their window, so that the last one inside may not be there alone.
        inside = min(max((len(waveform) - 512) // 160 + 1, 0), len(alone))
        np.testing.assert_array_equal(mel[clip, :inside], alone[:inside])


def test_louder_is_a_constant_more():
    """Ten times the waveform is ln 10 more in every bin above the floor."""
    waveform = sound(0.5)[:, 0]
    quiet, loud = (log_mel(padded([waveform * np.float32(gain)]), SETTINGS) for gain in (1, 10))
    np.testing.assert_allclose(loud - quiet, np.log(10), atol=2e-4)


def test_filters_and_window():
    """Triangles of height 1 that sum to 1 between the outer centres; a window that sums to half its length."""
    dense = np.zeros((513, 128))
    for block in mel_filters(PUBLISHED).blocks:
        dense[block.of, block.to] = block.matrix
    corners = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([125, 7600]) / 700)), 130) / 2595) - 1)
    frequencies = np.arange(513) * 15.625
    inner = (frequencies >= corners[1]) & (frequencies <= corners[-2])
    np.testing.assert_allclose(dense[inner].sum(axis=1), 1)
    assert (dense[(frequencies <= 125) | (frequencies >= 7600)] == 0).all()
    assert abs(hann(512).sum() - 256) < 1e-3


def test_frames_know_no_neighbours():
    """A frame's first sample loses a share of itself; cutting the work into strips changes nothing."""
    waveform = sound(0.1)[:, 0]
    whole = emphasised(waveform, 0, 7, SETTINGS)
    np.testing.assert_array_equal(whole[:, 0], waveform[: 7 * 160 : 160] * np.float32(1 - 0.97))
    np.testing.assert_array_equal(whole[3:5], emphasised(waveform, 3, 5, SETTINGS))
    assert (whole[:, 512:] == 0).all()


def test_the_longest_clip_is_the_one_that_fills_the_soft_tokens(extractor):
    """Its features fill 32 tokens of 16 frames; one sample more would pad to a frame more."""
    most = SETTINGS.most_samples
    assert SETTINGS.frames(most) <= 32 * 16 < SETTINGS.frames(most + 128)
    assert PUBLISHED.most_samples == 30 * 16_000
    clip = load_clip(stored(sound(most / 16_000)), SETTINGS)
    assert extractor([clip.waveform], return_tensors="np")["input_features"].shape[1] == 512
    with pytest.raises(UsageError, match=r"5\.15 s; this checkpoint takes at most 5\.15 s \(32 soft tokens\)"):
        load_clip(stored(sound((most + 1) / 16_000)), SETTINGS)


def changed(content, at, replacement):
    return content[:at] + replacement + content[at + len(replacement) :]


def with_one(value):
    samples = sound(1.0)[:, 0]
    samples[777] = value
    return stored(samples, subtype="FLOAT")


WAV = stored(sound(1.0))
BAD = {
    "nothing": (b"", "empty"),
    "text": (b"not a sound at all" * 20, "not readable as audio"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "not readable as audio"),
    "a header": (WAV[:44], "truncated"),
    "a header without samples": (stored(np.empty(0, np.float32)), "no samples"),
    "a cut WAV": (WAV[: len(WAV) // 2], "truncated: 16022 of 32044 bytes"),
    "a cut AIFF": (stored(sound(1.0), form="AIFF")[:9_000], "truncated"),
    "a cut FLAC": (stored(sound(1.0), form="FLAC")[:9_000], "lost sync|truncated"),
    "a cut Vorbis": (stored(sound(4.0), form="OGG", subtype="VORBIS")[:-3_000], "malformed|truncated"),
    "a cut Opus": (stored(sound(4.0, 48_000), 48_000, form="OGG", subtype="OPUS")[:-3_000], "malformed|truncated"),
    "0 Hz": (changed(WAV, 24, bytes(4)), "not readable as audio"),
    "2 GHz": (changed(WAV, 24, (2**31 - 1).to_bytes(4, "little")), "at most 768000"),
    "NaN": (with_one(np.nan), "NaN or infinite"),
    "infinity": (with_one(-np.inf), "NaN or infinite"),
    "20 minutes": (stored(np.zeros(20 * 60 * 8_000, np.int16), 8_000, "FLAC"), "1200.00 s; .* at most 5.15 s"),
    "one sample": (stored(np.zeros(1, np.float32)), r"0\.1 ms; at least 32\.1 ms, one frame"),
    "not quite a frame": (stored(np.zeros(512, np.float32)), r"32\.0 ms; at least 32\.1 ms, one frame"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("as_file", [False, True])
def test_bad_sounds_are_refused_in_one_line(tmp_path, name, as_file):
    content, reason = BAD[name]
    path = tmp_path / "bad"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError, match=reason) as caught:
            load_clip(path if as_file else content, SETTINGS)
    message = str(caught.value)
    assert message.startswith(f"audio {path}: " if as_file else f"audio of {len(content)} bytes: ")
    assert "\n" not in message
    assert "BytesIO" not in message


def test_a_cut_mp3_is_refused():
    """Its header says how long it was; the decoder itself may complain on the terminal."""
    content = stored(sound(2.0, 48_000), 48_000, "MP3")
    with pytest.raises(UsageError, match=r"truncated: \d+ of 96000 samples"):
        load_clip(content[: len(content) // 2], SETTINGS)


@pytest.mark.parametrize("claim", [0xFFFF_FFFF, 0x7FFF_FFFF, 0x7FFF_F024])
def test_a_recording_of_unknown_length_is_taken(claim):
    """Programs that write a WAV to a pipe cannot know its size."""
    content = changed(changed(WAV, 4, claim.to_bytes(4, "little")), 40, (claim - 36).to_bytes(4, "little"))
    np.testing.assert_array_equal(load_clip(content, SETTINGS).waveform, load_clip(WAV, SETTINGS).waveform)


@pytest.mark.parametrize("name", ["20 minutes", "1024 channels"])
def test_what_would_fill_the_memory_is_refused_before_it_is_decoded(monkeypatch, name):
    def decode(*_, **__):
        raise AssertionError("decoded")

    monkeypatch.setattr(soundfile.SoundFile, "read", decode)
    content = BAD["20 minutes"][0]
    if name == "1024 channels":
        monkeypatch.setattr(audio_file, "MOST_VALUES", 1 << 20)
        content = stored(np.zeros((1_025, 1_024), np.int16))
    with pytest.raises(UsageError, match="at most"):
        load_clip(content, SETTINGS)


def test_what_is_no_file_is_refused_in_one_line(tmp_path):
    loop, pipe = tmp_path / "loop", tmp_path / "pipe"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    for path, reason in (
        (tmp_path, "a folder"),
        (tmp_path / "none.wav", "No such file"),
        (loop, "symbolic links"),
        (pipe, "not a regular file"),
    ):
        with pytest.raises(UsageError, match=reason) as caught:
            load_clip(path, SETTINGS)
        assert str(caught.value).startswith(f"audio {path}: ")


@pytest.mark.parametrize("package", ["soundfile", "soxr"])
def test_a_missing_library_says_what_to_install(monkeypatch, package):
    content = stored(sound(1.0, 8_000), 8_000)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendUnavailable, match=f"pip install {package}"):
        load_clip(content, SETTINGS)
