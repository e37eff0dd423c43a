"""The adapter that fuses the maps of the last two stages into one of fixed size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from implementations.ane.engine.layers import RMSNorm
from implementations.ane.vision.blocks import InvertedResidual
from implementations.ane.vision.convolution import sides
from implementations.ane.vision.resample import doubled, shrunk
from implementations.gemma3n.config import VisionConfig
from implementations.gemma3n.mobilenet import EPS, FUSED, FUSION_EXPANSION, Inverted, Placed, fused_inputs
from parity.tap import Tap


class FusionAdapter(nn.Module):
    """Both maps at the finer one's resolution, channels behind each other, through a block without skip, and shrunk."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        block = Inverted(FUSED, expansion=FUSION_EXPANSION)
        placed = Placed(block, fused_inputs(config.channel_multiplier), FUSED)
        self.ffn = InvertedResidual(placed, block, scaled=False)
        self.norm = RMSNorm(FUSED, EPS)
        self._side = config.msfa_output_resolution

    def forward(self, fine: Tensor, coarse: Tensor, *, tap: Tap) -> Tensor:
        """Fuse maps ``[image, channel, height, width]``; returns ``[image, 2048, side, side]``."""
        resized = tap("resized", doubled(coarse, sides(fine)))
        fused = self.ffn(tap("concatenated", torch.cat((fine, resized), dim=1)), tap=tap.into("ffn"))
        return tap("norm", self.norm(tap("norm.input", shrunk(fused, self._side))))
