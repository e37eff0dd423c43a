"""What the processor prepares for the audio tower: masks of the clips, and tables of one number of frames."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from implementations.ane.audio.local import Locality
from implementations.gemma3n.config import AudioConfig
from parity.tap import Tap

SLOWEST = 1e-4
"""Radians a frame of the last sine; the first has 1."""


class Tables(NamedTuple):
    """What the tower takes beside mel features. Masks are 1 and 0: the engine has no booleans for inputs.

    Attributes:
        running_first: averages each frame with all before it, behind the first convolution, ``[frame, frame]``.
        running_second: the same behind the second one.
        timing: sines and cosines of the distances, ``[1, hidden, 1, distance]``.
        valid: which subsampled frames are sound, ``[clip, 1, 1, frame]``.
        visible: which keys each query sees, ``[clip, 1, block * query, key]``.
        kept: which frames behind the reduction are sound, ``[clip, 1, 1, frame]``.
    """

    running_first: Tensor
    running_second: Tensor
    timing: Tensor
    valid: Tensor
    visible: Tensor
    kept: Tensor


class AudioHost:
    """Prepares calls of the tower.

    Args:
        config: the tower's.
        rounded: applied to what is handed to the tower.
    """

    def __init__(self, config: AudioConfig, rounded: Callable[[Tensor], Tensor]) -> None:
        self._rounded = rounded
        self._locality = Locality.of(config)
        self._width = config.hidden_size
        self._strides = [time for time, _ in config.sscp_conv_stride_size]
        self._stride = math.prod(self._strides)
        self._reduction = config.conf_reduction_factor

    def prepare(self, mask: Tensor, *, tap: Tap) -> tuple[Tables, Tensor]:
        """Tables for clips whose mel frames ``[clip, frame]`` are sound where `mask`, bool, says so.

        Returns:
            The tables, and the mask of the tower's features, ``[clip, frame]``, bool.
        """
        mask = tap("mask", mask)
        first = _strided(mask.shape[1], self._strides[0])
        second = _strided(first, self._strides[1])
        places = torch.arange(second).mul(self._stride).clamp_max(mask.shape[1] - 1)
        valid = tap("subsampled_mask", mask[:, places])
        kept = valid
        if self._reduction > 1:
            kept = tap("reduced_mask", valid[:, :: self._reduction])
        running = [self._rounded(running_mean(count)) for count in (first, second)]
        timing = self._rounded(timing_signal(self._locality, self._width))
        masks = valid[:, None, None], seen(self._locality, valid), kept[:, None, None]
        return Tables._make((*running, timing, *(mask.float() for mask in masks))), kept


def running_mean(frames: int) -> Tensor:
    """The matrix that averages each frame with all before it, ``[frame, frame]``, float32.

    A product, for the engine adds up products in a wide register: a running sum in float16 would lose a bit with each
    doubling of the frames, and overflow. 1 / 3000, its least entry, is a normal number of float16.
    """
    rows = 1 / np.arange(1, frames + 1)[:, None]
    return torch.from_numpy(np.tril(np.broadcast_to(rows, (frames, frames))).astype(np.float32))


def timing_signal(locality: Locality, channels: int) -> Tensor:
    """Sines and cosines of the distances, ``[1, channels, 1, distance]``, float32 (arXiv 1706.03762).

    Distances run from the farthest key before a query down to the last one ahead of it, which is negative. Tables are
    made in float64: exp in float32 would be off by some units of roundoff, and a distance multiplies that.
    """
    distances = np.arange(locality.past, -locality.future - 1, -1, dtype=np.float64)
    rates = SLOWEST ** (np.arange(channels // 2) / max(channels // 2 - 1, 1))
    angles = rates[:, None] * distances
    table = np.concatenate([np.sin(angles), np.cos(angles)])[None, :, None]
    return torch.from_numpy(table.astype(np.float32))


def seen(locality: Locality, valid: Tensor) -> Tensor:
    """Which keys of its block's context each query sees, ``[clip, 1, block * query, key]``, bool.

    Args:
        locality: how frames are cut.
        valid: which frames are sound, ``[clip, frame]``, bool.
    """
    reach = torch.arange(locality.context) - torch.arange(locality.block)[:, None]
    within = (reach >= 0) & (reach < locality.span)
    sound = locality.contexts(valid[:, None, None].float()) > 0  # clip 1 block key
    return (sound.transpose(1, 2) & within).flatten(1, 2)[:, None]


def _strided(frames: int, stride: int) -> int:
    """Frames behind a convolution that is padded behind by its kernel less one."""
    return (frames - 1) // stride + 1
