"""The audio tower: subsampling convolutions, conformer blocks, reduction. Parameter names are the checkpoint's."""

from __future__ import annotations

import math

import mlx.core as mx
from mlx.nn.layers.base import Module

from implementations.gemma3n.config import AudioConfig
from implementations.mlx.audio.conformer import Block
from implementations.mlx.audio.local import Locality
from implementations.mlx.audio.subsample import Subsample
from parity.tap import Tap


class AudioTower(Module):
    """Universal Speech Model's encoder (arXiv 2303.01037) with local attention."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.subsample_conv_projection = Subsample(config)
        self.conformer = [Block(config) for _ in range(config.conf_num_hidden_layers)]
        self._scopes = [f"conformer.{layer}" for layer in range(config.conf_num_hidden_layers)]
        self._locality = Locality.of(config)
        self._stride = math.prod(time for time, _ in config.sscp_conv_stride_size)
        self._reduction = config.conf_reduction_factor

    def __call__(self, mel: mx.array, mask: mx.array, *, tap: Tap) -> tuple[mx.array, mx.array]:
        """Encode clips padded to one length.

        Args:
            mel: log-mel features ``[clip, frame, mel]`` in the working dtype.
            mask: which frames are sound, ``[clip, frame]``, bool.
            tap: of the scope ``audio``.

        Returns:
            Features ``[clip, frame', hidden]``, zero where padded, and the mask of their frames ``[clip, frame']``.
        """
        mel, mask = tap("mel", mel), tap("mask", mask)
        x = self.subsample_conv_projection(mel, tap=tap.into("subsample_conv_projection"))
        mask = tap("subsampled_mask", self._subsampled(mask, x.shape[1]))
        masks = self._locality.masks(mask)
        for block, scope in zip(self.conformer, self._scopes, strict=True):
            x = block(x, masks, tap=tap.into(scope))
        x, mask = self._reduced(x, mask, tap)
        return tap("out", mx.where(mask[..., None], x, 0)), mask

    def _subsampled(self, mask: mx.array, frames: int) -> mx.array:
        """The mask at the first frame that each subsampled frame stems from; `frames` of them."""
        first = mx.minimum(mx.arange(frames) * self._stride, mask.shape[1] - 1)
        return mx.take(mask, first, axis=1)

    def _reduced(self, x: mx.array, mask: mx.array, tap: Tap) -> tuple[mx.array, mx.array]:
        if self._reduction == 1:
            return x, mask
        x = tap("reduced", x[:, :: self._reduction])
        return x, tap("reduced_mask", mask[:, :: self._reduction])
