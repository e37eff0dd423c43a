"""Windows: which frames attention's blocks hold, and which they see. All of it follows from tensors of any length.

Frames are cut into blocks of W, which share one window of W + past + future frames, beginning `past` before the block.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from implementations.gemma3n.config import AudioConfig


class Windows:
    """How frames are cut.

    Attributes:
        span: keys that one query sees.
        width: frames of a window.
    """

    def __init__(self, config: AudioConfig) -> None:
        self._block, self._past, self._future = (
            config.conf_attention_chunk_size,
            config.past,
            config.conf_attention_context_right,
        )
        self.span = self._past + 1 + self._future
        self.width = self._block + self._past + self._future

    def blocks(self, x: Tensor) -> Tensor:
        """``[clip, frame, ...]`` as ``[clip, block, query, ...]``, zeros behind the last frame."""
        return self._cut(x, self._block, 0, self._block - 1)

    def contexts(self, x: Tensor) -> Tensor:
        """Each block's window of ``[clip, frame, ...]``: ``[clip, block, key, ...]``, zeros outside the clip."""
        return self._cut(x, self.width, self._past, self._block - 1 + self._future)

    def visible(self, valid: Tensor) -> Tensor:
        """Which keys each query sees: those in its reach that are sound.

        Args:
            valid: which frames are sound, ``[clip, frame]``, bool.

        Returns:
            ``[clip, block, query, key]``, bool.
        """
        reach = torch.arange(self.width) - torch.arange(self._block)[:, None]
        within = (reach >= 0) & (reach < self.span)
        return self.contexts(valid)[:, :, None] & within

    def shifted(self, by_distance: Tensor) -> Tensor:
        """Scores at distances as scores at keys, zero where a key is out of reach (arXiv 1901.02860, appendix B).

        The first key in reach of query w is key w. So each row begins one column behind the row before: rows that
        are padded to one column more than there are keys, and read again without it, do.

        Args:
            by_distance: ``[..., query, distance]``.

        Returns:
            ``[..., query, key]``.
        """
        wide = functional.pad(by_distance, (0, self.width + 1 - self.span))
        return wide.flatten(-2)[..., : self._block * self.width].unflatten(-1, (self._block, self.width))

    def _cut(self, x: Tensor, width: int, before: int, behind: int) -> Tensor:
        """Windows of `width` frames, one block apart, of frames padded by constant numbers on both sides.

        A graph's padding is then a constant, and the number of blocks is in the indices alone.
        """
        padded = functional.pad(x, (0, 0) * (x.ndim - 2) + (before, behind))
        count = (x.shape[1] + self._block - 1) // self._block
        frames = torch.arange(count)[:, None] * self._block + torch.arange(width)
        return padded.index_select(1, frames.flatten()).unflatten(1, (-1, width))


class Heard(NamedTuple):
    """What all blocks of the conformer know of the clips.

    Attributes:
        valid: which frames are sound, ``[clip, frame, 1]``, bool.
        visible: which keys each query sees, ``[clip, block, query, key]``, bool.
        timing: ``[1, distance, hidden]``.
    """

    valid: Tensor
    visible: Tensor
    timing: Tensor
