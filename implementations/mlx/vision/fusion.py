"""The adapter that fuses the maps of the last two stages into one of fixed size."""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module

from implementations.gemma3n.config import VisionConfig
from implementations.gemma3n.mobilenet import EPS, FUSED, FUSION_EXPANSION, Inverted, Placed, fused_inputs
from implementations.mlx.operations.layers import RMSNorm
from implementations.mlx.vision.blocks import InvertedResidual
from implementations.mlx.vision.resample import nearest, shrunk
from parity.tap import Tap


class FusionAdapter(Module):
    """Both maps at the finer one's resolution, channels behind each other, through a block without skip, and shrunk."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        block = Inverted(FUSED, expansion=FUSION_EXPANSION)
        placed = Placed(block, fused_inputs(config.channel_multiplier), FUSED)
        self.ffn = InvertedResidual(placed, block, scaled=False)
        self.norm = RMSNorm(FUSED, EPS)
        self._side = config.msfa_output_resolution

    def __call__(self, fine: mx.array, coarse: mx.array, *, tap: Tap) -> mx.array:
        """Fuse maps ``[image, height, width, channel]``; returns ``[image, side, side, 2048]``."""
        resized = tap("resized", nearest(coarse, (fine.shape[1], fine.shape[2])))
        fused = self.ffn(tap("concatenated", mx.concatenate([fine, resized], axis=-1)), tap=tap.into("ffn"))
        return tap("norm", self.norm(tap("norm.input", shrunk(fused, self._side))))
