"""Locality: frames in blocks, and for each block the context that its frames may see, all by shifts of fixed size.

A block of W frames sees ``past`` frames before its first and ``future`` behind its last one: K = W + past + future. How
many blocks there are follows from the number of frames alone, which is fixed when a program is compiled.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from implementations.gemma3n.config import AudioConfig


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

    def count(self, frames: int) -> int:
        """Blocks of so many frames."""
        return -(-frames // self.block)

    def blocks(self, x: Tensor) -> Tensor:
        """``[clip, channel, 1, frame]`` as ``[clip, channel, block, query]``, zeros behind the last frame."""
        clips, channels, _, frames = x.shape
        count = self.count(frames)
        padded = functional.pad(x, (0, count * self.block - frames))
        return padded.reshape(clips, channels, count, self.block)

    def contexts(self, x: Tensor) -> Tensor:
        """The context of each block of ``[clip, channel, 1, frame]``: ``[clip, channel, block, key]``.

        Zeros stand outside the clip. A context is cut from the frames themselves, from those one block on, and so
        forth, side by side: no frame is looked up by an index, which the engine cannot do.
        """
        clips, channels, _, frames = x.shape
        count, shifts = self.count(frames), -(-self.context // self.block)
        total = (count + shifts - 1) * self.block
        padded = functional.pad(x, (self.past, total - self.past - frames))
        shape = (clips, channels, count, self.block)
        starts = range(0, shifts * self.block, self.block)
        shifted = [padded[..., start : start + count * self.block].reshape(shape) for start in starts]
        return torch.cat(shifted, dim=3)[..., : self.context]

    def shift(self, by_distance: Tensor) -> Tensor:
        """Scores at distances as scores at keys; zero for keys out of reach.

        Query w of a block stands `past + w` behind the context's first key, so its first score belongs to key w. Rows
        padded to one column more than there are keys, and read again without it, move by one each: Transformer-XL's
        skew (appendix B).

        Args:
            by_distance: ``[clip, head, block * query, distance]``.

        Returns:
            ``[clip, head, block * query, key]``.
        """
        clips, heads, queries, _ = by_distance.shape
        rows, keys = self.block, self.context
        wide = functional.pad(by_distance, (0, keys + 1 - self.span))
        flat = wide.reshape(clips, heads * queries // rows, rows * (keys + 1))
        return flat[..., : rows * keys].reshape(clips, heads, queries, keys)
