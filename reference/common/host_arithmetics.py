"""The arithmetics of the reference's processor: its own float32, the oracle's float64, and others that are as right.

The processor is Python on NumPy, soundfile, soxr and torchvision. Its source stays as it is: what its modules call is
exchanged while it runs, so that there is no second implementation that could differ from it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from reference.common.float64 import float64

AUDIO = "transformers.audio_utils"
PADDING = "transformers.feature_extraction_sequence_utils"
RESIZING = "torchvision.transforms.v2.functional._geometry"

LOUDNESSES = tuple(2 ** (-step / 8) for step in range(8))
"""Factors by which the oracle's sound is resampled, of no two of which the float32 products round alike."""


class Instead:
    """A module some of whose names are others.

    Args:
        module: what all other names are of.
        names: the exchanged ones.
    """

    def __init__(self, module: Any, **names: Any) -> None:
        self._module = module
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class Doubles(soundfile.SoundFile):  # type: ignore[misc]  # soundfile ships no types
    """An audio file whose samples are float64 where float32 is asked for: mixing them rounds nothing."""

    def read(self, *given: Any, dtype: str = "float64", **more: Any) -> NDArray[Any]:
        """As of `soundfile.SoundFile`."""
        return super().read(*given, dtype="float64" if dtype == "float32" else dtype, **more)


def averaged(waveform: NDArray[np.float64], *given: Any, **more: Any) -> NDArray[Any]:
    """`soxr.resample` ``[sample]`` with less of its float32 noise.

    The filter of the quality asked for is what defines the result; soxr has it in float32 alone, whatever it is given.
    A filter is linear, so at another loudness only the roundings differ, and a mean of several has less of them.
    """
    made = (soxr.resample(waveform * loudness, *given, **more) / loudness for loudness in LOUDNESSES)
    return np.mean([*made], axis=0)


def quieter(waveform: NDArray[np.float32], *given: Any, **more: Any) -> NDArray[Any]:
    """`soxr.resample` ``[sample]`` at another loudness: the same filter, rounded elsewhere."""
    factor = np.float32(LOUDNESSES[1])
    return soxr.resample(waveform * factor, *given, **more) / factor


def rfft(frames: NDArray[np.float32], n: int, axis: int) -> NDArray[Any]:
    """`numpy.fft.rfft` of frames at another loudness, rounded elsewhere."""
    factor = np.float32(LOUDNESSES[1])
    return np.fft.rfft(frames * factor, n=n, axis=axis) / factor


def wide(interpolation: Any) -> bool:
    """No 8-bit resampling: torchvision interpolates in floating point and rounds once, as without AVX2."""
    return False


def dithered(image: torch.Tensor, **given: Any) -> torch.Tensor:
    """`torch.nn.functional.interpolate`, whose levels are then rounded up as often as they are near to the upper one.

    Each way to round lies in between: that of two passes of 8 bits, or of one, or of narrow weights.
    """
    made = interpolate(image, **given)
    return made + torch.rand(made.shape, generator=torch.Generator().manual_seed(0)) - 0.5


DOUBLE, LOUD = Instead(np, float32=np.float64), Instead(np, fft=Instead(np.fft, rfft=rfft))
ORACLE: Mapping[str, Any] = {
    f"{AUDIO}:np": DOUBLE,
    f"{AUDIO}:sf": Instead(soundfile, SoundFile=Doubles),
    f"{AUDIO}:soxr": Instead(soxr, resample=averaged),
    f"{PADDING}:np": DOUBLE,
    f"{RESIZING}:_do_native_uint8_resize_on_cpu": wide,
}
"""Every request for float32 is granted in float64; pictures are averaged exactly and rounded to levels once."""

OTHERWISE: Mapping[str, Any] = {
    f"{AUDIO}:soxr": Instead(soxr, resample=quieter),
    f"{RESIZING}:_do_native_uint8_resize_on_cpu": wide,
    f"{RESIZING}:interpolate": dithered,
}
"""As right in float32: sound is resampled and transformed at another loudness, levels are rounded stochastically."""


@contextmanager
def exact(extractor: str) -> Iterator[None]:
    """Load and run the processor in float64; `extractor` is the module of its feature extractor."""
    with _exchanged({**ORACLE, f"{extractor}:np": DOUBLE}), float64():
        yield


@contextmanager
def otherwise(extractor: str) -> Iterator[None]:
    """Run the processor in float32, in other steps; `extractor` is the module of its feature extractor."""
    with _exchanged({**OTHERWISE, f"{extractor}:np": LOUD}):
        yield


@contextmanager
def _exchanged(names: Mapping[str, Any]) -> Iterator[None]:
    """Run with other values of global names, ``package.module:name``."""
    with ExitStack() as stack:
        for path, value in names.items():
            module, _, name = path.partition(":")
            stack.callback(_exchange(importlib.import_module(module), name, value))
        yield


def _exchange(module: Any, name: str, value: Any) -> Callable[[], None]:
    """Set a global name that there is; returns what sets it back."""
    before = getattr(module, name)
    setattr(module, name, value)
    return lambda: setattr(module, name, before)
