"""How far a key is from a query, as sines: without torch, for who reads a graph's weights needs it too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.config import AudioConfig

SLOWEST = 1e-4
"""Radians a frame of the last sine; the first has 1."""


def timing(config: AudioConfig, channels: int) -> NDArray[np.float32]:
    """Sines, then cosines, of each distance, from the farthest key before to the last ahead (arXiv 1706.03762).

    A distance multiplies what a rate is off by: so the table is made in float64.

    Returns:
        ``[1, distance, channels]``.
    """
    distances = np.arange(config.past, -config.conf_attention_context_right - 1, -1)[:, None]
    angles = distances * SLOWEST ** (np.arange(channels // 2) / max(channels // 2 - 1, 1))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)[None].astype(np.float32)
