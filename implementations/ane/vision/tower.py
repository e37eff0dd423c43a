"""The vision tower: pixels to soft tokens. Parameter names are the checkpoint's, which are timm's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from implementations.ane.engine.layers import RMSNorm
from implementations.ane.vision.blocks import InvertedResidual, build
from implementations.ane.vision.convolution import ConvolutionNorm, sides
from implementations.ane.vision.resample import doubled, shrunk
from implementations.gemma3n.config import VisionConfig
from implementations.gemma3n.mobilenet import (
    EPS,
    FUSED,
    FUSED_STAGES,
    FUSION_EXPANSION,
    STEM_KERNEL,
    STEM_STRIDE,
    Inverted,
    Placed,
    fused_inputs,
    stages,
    stem_channels,
)
from parity.tap import SILENT, Tap


class Stage(nn.ModuleList):
    """Blocks one behind the other; only the first changes the map's size."""

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, channel, height, width]``."""
        for index, block in enumerate(self):
            x = block(x, tap=tap.into(f"{index}"))
        return x


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


class Encoder(nn.Module):
    """MobileNetV5: stem, four stages of blocks, fusion adapter."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        multiplier = config.channel_multiplier
        self.conv_stem = ConvolutionNorm(
            3, stem_channels(multiplier), kernel=STEM_KERNEL, stride=STEM_STRIDE, bias=True
        )
        self.blocks = nn.ModuleList(Stage(map(build, stage)) for stage in stages(multiplier))
        self.msfa = FusionAdapter(config)

    def forward(self, pixels: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, 3, height, width]``; returns ``[image, 2048, side, side]``."""
        x = self.conv_stem(pixels, tap=tap.into("conv_stem"))
        ends = []
        for number, stage in enumerate(self.blocks):
            x = stage(x, tap=tap.into(f"blocks.{number}"))
            ends.append(x)
        fine, coarse = (ends[stage] for stage in FUSED_STAGES)
        fused: Tensor = self.msfa(fine, coarse, tap=tap.into("msfa"))
        return fused


class VisionTower(nn.Module):
    """The encoder and what makes soft tokens of its map. Compiled for one size and number of images."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.timm_model = Encoder(config)
        self._scale = config.hidden_size**0.5

    def forward(self, pixels: Tensor, *, tap: Tap = SILENT) -> Tensor:
        """Run on images of one size.

        Args:
            pixels: ``[image, channel=3, height, width]`` as processors give them, red first, in 0 to 1.
            tap: of the scope ``vision``.

        Returns:
            Soft tokens ``[image, 2048, 1, token]``, row by row.
        """
        fused = self.timm_model(tap("pixels", pixels), tap=tap)
        return tap("soft_tokens", fused.flatten(2).unsqueeze(2) * self._scale)
