"""Locality: frames in blocks, and for each block the context that its frames may see.

A block of W frames sees ``past`` frames before its first and ``future`` behind its last one: C = W + past + future.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from implementations.gemma3n.config import AudioConfig


@dataclass(frozen=True)
class Masks:
    """What attention of all blocks shares.

    Attributes:
        locality: how frames are cut.
        valid: which frames are sound, ``[clip, frame]``.
        visible: which keys each query sees, ``[clip, block, query, key]``.
    """

    locality: Locality
    valid: mx.array
    visible: mx.array


@dataclass(frozen=True)
class Locality:
    """How frames are cut into blocks.

    Attributes:
        block: frames of a block.
        past: frames before its own that a query sees.
        future: frames behind its own that a query sees.
    """

    block: int
    past: int
    future: int

    @classmethod
    def of(cls, config: AudioConfig) -> Locality:
        """The locality of a configuration."""
        return cls(config.conf_attention_chunk_size, config.past, config.conf_attention_context_right)

    @property
    def span(self) -> int:
        """Keys that one query sees."""
        return self.past + 1 + self.future

    @property
    def context(self) -> int:
        """Keys that a block sees."""
        return self.block + self.past + self.future

    def masks(self, valid: mx.array) -> Masks:
        """Masks for clips whose frames ``[clip, frame]`` are `valid`."""
        reach = np.arange(self.context) - np.arange(self.block)[:, None]
        within = mx.array((reach >= 0) & (reach < self.span))
        return Masks(self, valid, self.contexts(valid)[:, :, None] & within)

    def blocks(self, x: mx.array) -> mx.array:
        """``[clip, frame, ...]`` as ``[clip, block, query, ...]``, zeros behind the last frame."""
        missing = -x.shape[1] % self.block
        return mx.unflatten(_padded(x, 0, missing), 1, (-1, self.block))

    def contexts(self, x: mx.array) -> mx.array:
        """The context of each block of ``[clip, frame, ...]``: ``[clip, block, key, ...]``, zeros outside the clip."""
        count = -(-x.shape[1] // self.block)
        missing = count * self.block - x.shape[1]
        padded = _padded(x, self.past, missing + self.future)
        index = np.arange(count)[:, None] * self.block + np.arange(self.context)
        return mx.take(padded, mx.array(index), axis=1)

    def shift(self, by_distance: mx.array) -> mx.array:
        """Scores ``[..., query, distance]`` at their keys, ``[..., query, key]``; zero for keys out of reach.

        Query w stands `past + w` behind the context's first key, so its first score belongs to key w. Rows padded to
        one column more than there are keys, and read again without it, move by one each: Transformer-XL's skew
        (appendix B).
        """
        query, keys = by_distance.shape[-2], self.context
        wide = mx.pad(by_distance, [(0, 0)] * (by_distance.ndim - 1) + [(0, keys + 1 - self.span)])
        flat = mx.flatten(wide, -2)[..., : query * keys]
        return mx.unflatten(flat, -1, (query, keys))


def _padded(x: mx.array, before: int, behind: int) -> mx.array:
    """Zeros along the second axis."""
    return mx.pad(x, [(0, 0), (before, behind)] + [(0, 0)] * (x.ndim - 2))
