"""Tones, chirps and beeps, made from a description."""

import random
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from reference.common.pictures import NUMBERS, pick

Samples = npt.NDArray[np.int16]

RATE: Final = 16000
# Fundamentals in hertz. Two octaves lie between low and high, and a chirp passes through both.
PITCHES: Final = {"low": (200, 400), "high": (1600, 3200)}
CHIRPS: Final = {"rising": (300, 2400), "falling": (2400, 300)}
FADE: Final = 160  # 10 ms at both ends: no click


@dataclass(frozen=True)
class Sound:
    """One kind of sound: a "tone" or "beeps" of a pitch, or a "chirp" in a direction; times in milliseconds."""

    kind: str
    quality: str
    start: int
    end: int
    length: int
    count: int = 1
    gap: int = 0
    lead: int = 0

    def samples(self) -> Samples:
        """Synthesise it: 16-bit mono at 16 kHz, at half of full scale."""
        silence, rest = np.zeros(16 * self.lead), np.zeros(16 * self.gap)
        once = self.sweep()
        parts = [silence] + [part for _ in range(self.count) for part in (once, rest)] + [silence]
        return np.round(16383 * np.concatenate(parts)).astype(np.int16)

    def sweep(self) -> npt.NDArray[np.float64]:
        """Return one stretch of sound, in [-1, 1], its frequency going from start to end."""
        time = np.arange(16 * self.length) / RATE
        seconds = self.length / 1000
        phase = 2 * np.pi * (self.start + (self.end - self.start) * time / (2 * seconds)) * time
        edge = np.minimum(np.arange(time.size), np.arange(time.size)[::-1])
        return np.sin(phase) * np.minimum(1, edge / FADE)


def phrase(sound: Sound) -> str:
    """Say what it is: "a low tone", "a rising chirp", "three high beeps"."""
    if sound.kind == "beeps" and sound.count > 1:
        return f"{NUMBERS[sound.count - 1]} {sound.quality} beeps"
    return f"a {sound.quality} {sound.kind.removesuffix('s')}"


def tone(draw: random.Random) -> Sound:
    """A steady tone of 0.8 to 1.6 s."""
    quality = pick(draw, tuple(PITCHES))
    pitch = pick(draw, range(*PITCHES[quality]))
    return Sound("tone", quality, pitch, pitch, pick(draw, range(800, 1600)), lead=pick(draw, range(40, 200)))


def chirp(draw: random.Random) -> Sound:
    """A tone of 0.8 to 1.6 s that glides over three octaves."""
    quality = pick(draw, tuple(CHIRPS))
    start, end = (int(pitch * (0.8 + 0.4 * draw.random())) for pitch in CHIRPS[quality])
    return Sound("chirp", quality, start, end, pick(draw, range(800, 1600)), lead=pick(draw, range(40, 200)))


def beeps(draw: random.Random) -> Sound:
    """One to four beeps of 0.16 to 0.24 s, 0.24 to 0.36 s apart: soft tokens are 0.16 s."""
    quality = pick(draw, tuple(PITCHES))
    pitch = pick(draw, range(*PITCHES[quality]))
    length, gap, lead = pick(draw, range(160, 240)), pick(draw, range(240, 360)), pick(draw, range(40, 200))
    return Sound("beeps", quality, pitch, pitch, length, pick(draw, (1, 2, 3, 4)), gap, lead)
