"""Pictures and sounds that are drawn: shapes, gradients and noise of any size; tones, chirps and noise of any rate."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.media import Part
from reference.common import pictures, sounds

SIZES = (16, 300)
"""Least and greatest side of a picture, in pixels."""
RATES = (8_000, 11_025, 16_000, 16_000, 22_050, 44_100, 48_000)
SECONDS = (0.05, 2.0)
MODES = ("RGB", "RGB", "L", "RGBA", "P")
PICTURES, SOUNDS = (".png", ".png", ".jpg", ".webp"), (".wav", ".wav", ".flac", ".ogg")


def media(draw: random.Random, folder: Path) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """A picture, a sound, or both, written to `folder`; and what they are."""
    chosen = draw.choice((("image",), ("audio",), ("image", "audio"), ("image",), ("audio",)))
    made = [(_picture if kind == "image" else _sound)(draw, folder) for kind in chosen]
    return tuple(part for part, _ in made), tuple(shown for _, shown in made)


def _picture(draw: random.Random, folder: Path) -> tuple[Part, str]:
    from PIL import Image

    what, pixels = draw.choice((_shapes, _gradient, _noise))(draw)
    mode, suffix = draw.choice(MODES), draw.choice(PICTURES)
    mode = "RGB" if suffix != ".png" else mode
    path = folder / f"picture{suffix}"
    Image.fromarray(pixels).convert(mode).save(path)
    height, width = pixels.shape[:2]
    return Part("image", str(path)), f"{what}, {width} x {height}, {mode} {suffix}"


def _side(draw: random.Random) -> int:
    return draw.randint(*SIZES)


def _shapes(draw: random.Random) -> tuple[str, NDArray[np.uint8]]:
    """As the embedded checkpoint learned them."""
    picture = draw.choice((pictures.alone, pictures.several))(draw)
    return pictures.phrase(picture), picture.pixels()


def _gradient(draw: random.Random) -> tuple[str, NDArray[np.uint8]]:
    rows, columns = np.mgrid[: _side(draw), : _side(draw)]
    slopes = [[draw.uniform(-2, 2) for _ in range(2)] for _ in range(3)]
    planes = [128 + along * rows + across * columns for along, across in slopes]
    return "gradient", np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def _noise(draw: random.Random) -> tuple[str, NDArray[np.uint8]]:
    numbers = np.random.default_rng(draw.getrandbits(32))
    low, high = sorted((draw.randint(0, 255), draw.randint(0, 255)))
    return "noise", numbers.integers(low, high + 1, (_side(draw), _side(draw), 3), dtype=np.uint8)


def _sound(draw: random.Random, folder: Path) -> tuple[Part, str]:
    import soundfile

    rate, channels, suffix = draw.choice(RATES), draw.choice((1, 1, 2)), draw.choice(SOUNDS)
    what, waves = draw.choice((_taught, _waves, _hiss))(draw, rate, channels)
    path = folder / f"sound{suffix}"
    soundfile.write(path, waves * draw.choice((1.0, 0.3, 1e-3)), rate)
    return Part("audio", str(path)), f"{what}, {len(waves) / rate:.2f} s, {channels} x {rate} Hz {suffix}"


def _count(draw: random.Random, rate: int) -> int:
    return round(draw.uniform(*SECONDS) * rate)


def _taught(draw: random.Random, rate: int, channels: int) -> tuple[str, NDArray[Any]]:
    """As the embedded checkpoint learned them, and sped up or slowed down where the rate is another."""
    sound = draw.choice((sounds.tone, sounds.chirp, sounds.beeps))(draw)
    return sounds.phrase(sound), np.repeat(sound.samples()[:, None] / 32768, channels, axis=1)


def _waves(draw: random.Random, rate: int, channels: int) -> tuple[str, NDArray[Any]]:
    """Sines of a few frequencies, others in each channel."""
    time = np.arange(_count(draw, rate))[:, None] / rate
    pitches = np.array([[draw.uniform(50, rate / 2) for _ in range(channels)] for _ in range(3)])
    return "sines", 0.3 * np.sin(2 * np.pi * time[:, None] * pitches).sum(axis=1)


def _hiss(draw: random.Random, rate: int, channels: int) -> tuple[str, NDArray[Any]]:
    numbers = np.random.default_rng(draw.getrandbits(32))
    return "noise", np.clip(0.2 * numbers.standard_normal((_count(draw, rate), channels)), -1, 1)
