"""From files to pixels and mel features, ours against the reference's processor, alternating in one run.

Run by ``make bench``. Images go to the published 768 × 768 pixels, sound is the 30 s that the model takes at most.
Neighbouring runs are compared, so that a busy machine disturbs both alike; both return the same bits.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
import soundfile

from implementations.gemma3n.preprocessing.audio_file import load_clip
from implementations.gemma3n.preprocessing.image import load_image
from implementations.gemma3n.preprocessing.mel import log_mel, padded
from implementations.gemma3n.preprocessing.settings import AudioSettings, ImageSettings
from reference import tiny

ROUNDS = 11
SIZE = 768
IMAGES = [(1024, 768), (640, 480), (1023, 769), (4000, 3000)]
"""Sizes: one axis resampled, enlarged, both axes, a photo."""
SOUNDS = [(16_000, 1), (44_100, 2)]
"""Rates and channels."""


@pytest.fixture(scope="module")
def processor():
    """The reference's, at the published size, with torch's own number of threads."""
    from transformers import AutoProcessor

    found = AutoProcessor.from_pretrained(tiny.path())
    found.image_processor.size = {"height": SIZE, "width": SIZE}
    return found


def picture(width: int, height: int) -> PIL.Image.Image:
    """Something like a photo: smooth shades, edges, and the noise of a sensor."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:height, :width] / 100
    shades = np.stack([np.sin(row + phase) * np.cos(column * (1 + phase)) for phase in range(3)], axis=2)
    edges = 40 * (np.sin(3 * row * column) > 0.9)[..., None]
    noise = rng.normal(0, 6, shades.shape)
    return PIL.Image.fromarray(np.clip(128 + 80 * shades + edges + noise, 0, 255).astype(np.uint8))


def ratio(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float]:
    """Median ratio of neighbouring runs, and the median duration of ours in seconds."""
    ratios, durations = [], []
    for _ in range(ROUNDS + 1):  # the first pair warms up
        reference, own = seconds(theirs), seconds(ours)
        ratios.append(own / reference)
        durations.append(own)
    return statistics.median(ratios[1:]), statistics.median(durations[1:])


def seconds(function: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def judge(benchmark: Any, name: str, ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    """Check that ours is the same and takes no longer."""
    np.testing.assert_array_equal(ours(), theirs())
    found, duration = benchmark.pedantic(ratio, args=(ours, theirs), rounds=1, iterations=1)
    benchmark.extra_info["ratio to the reference"] = found
    print(f"\n{name}: {found:.2f} x the reference, {1000 * duration:.1f} ms")
    assert found <= 1


@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_image(processor, tmp_path, benchmark, shape, form):
    """A picture from a file to pixels."""
    path, settings = tmp_path / "picture", ImageSettings(SIZE, SIZE)
    picture(*shape).save(path, form)
    judge(
        benchmark,
        f"{form} of {shape[0]} x {shape[1]}",
        lambda: load_image(path, settings).pixels,
        lambda: np.asarray(processor.image_processor([str(path)], return_tensors="np")["pixel_values"])[0],
    )


@pytest.mark.parametrize(("rate", "channels"), SOUNDS)
def test_sound(processor, tmp_path, benchmark, rate, channels):
    """30 s of sound from a file to features."""
    from transformers.audio_utils import load_audio

    path, settings = tmp_path / "sound.wav", AudioSettings()
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal((30 * rate, channels)), rate)

    def theirs() -> Any:
        waveform = load_audio(str(path), sampling_rate=16_000, backend="soundfile")
        return processor.feature_extractor([waveform], return_tensors="np")["input_features"]

    def ours() -> Any:
        return log_mel(padded([load_clip(path, settings).waveform]), settings)

    judge(benchmark, f"30 s at {rate} Hz, {channels} channels", ours, theirs)
