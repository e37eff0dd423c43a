"""The vision tower: pixels to soft tokens. Parameter names are the checkpoint's, which are timm's."""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module

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
from implementations.mlx.operations.layers import RMSNorm
from implementations.mlx.vision.blocks import InvertedResidual, build
from implementations.mlx.vision.convolution import ConvolutionNorm
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


class Encoder(Module):
    """MobileNetV5: stem, four stages of blocks, fusion adapter."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        multiplier = config.channel_multiplier
        self.conv_stem = ConvolutionNorm(
            3, stem_channels(multiplier), kernel=STEM_KERNEL, stride=STEM_STRIDE, bias=True
        )
        self.blocks = [[build(placed) for placed in stage] for stage in stages(multiplier)]
        self.msfa = FusionAdapter(config)

    def __call__(self, pixels: mx.array, *, tap: Tap) -> mx.array:
        """Run on ``[image, height, width, 3]``; returns ``[image, side, side, 2048]``."""
        x = self.conv_stem(pixels, tap=tap.into("conv_stem"))
        ends = []
        for number, stage in enumerate(self.blocks):
            for index, block in enumerate(stage):
                x = block(x, tap=tap.into(f"blocks.{number}.{index}"))
            ends.append(x)
        fine, coarse = (ends[stage] for stage in FUSED_STAGES)
        return self.msfa(fine, coarse, tap=tap.into("msfa"))


class VisionTower(Module):
    """The encoder and what makes soft tokens of its map."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.timm_model = Encoder(config)
        self._scale = config.hidden_size**0.5

    def __call__(self, pixels: mx.array, *, tap: Tap) -> mx.array:
        """Run on images of one size.

        Args:
            pixels: ``[image, channel=3, height, width]`` as processors give them, red first, in the working dtype.
            tap: where steps go.

        Returns:
            Soft tokens ``[image, token, 2048]``, row by row, in the dtype of `pixels`.
        """
        pixels = tap("pixels", mx.moveaxis(pixels, 1, -1))
        tokens = mx.flatten(self.timm_model(pixels, tap=tap), 1, 2)
        # The factor is not rounded to the working dtype: the reference multiplies by a Python number.
        return tap("soft_tokens", (tokens.astype(mx.float32) * self._scale).astype(tokens.dtype))
