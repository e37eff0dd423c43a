"""The vision encoder: pixels to soft tokens. Parameter names are the checkpoint's, which are timm's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

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
from implementations.onnx.operations.embedder import SoftEmbedder
from implementations.onnx.operations.layers import GroupedNorm
from implementations.onnx.vision.blocks import InvertedBlock, block
from implementations.onnx.vision.layers import CHANNELS, Convolution, ConvolutionNorm
from parity.tap import SILENT, Tap


class Stage(nn.ModuleList):
    """Blocks one behind the other, of which the first may make a smaller map."""

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, channel, height, width]``."""
        for index, module in enumerate(self):
            x = module(x, tap=tap.into(str(index)))
        return x


class FusionAdapter(nn.Module):
    """The last two stages' maps as one of ``side x side`` pixels, which are the soft tokens."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        inverted = Inverted(FUSED, expansion=FUSION_EXPANSION)
        placed = Placed(inverted, fused_inputs(config.channel_multiplier), FUSED)
        self.ffn = InvertedBlock(placed, inverted, scaled=False)
        self.norm = GroupedNorm(FUSED, EPS, axis=CHANNELS)
        self._side = config.msfa_output_resolution

    def forward(self, fine: Tensor, coarse: Tensor, *, tap: Tap) -> Tensor:
        """Fuse maps ``[image, channel, height, width]``; returns ``[image, 2048, side, side]``."""
        resized = tap("resized", functional.interpolate(coarse, size=fine.shape[2:], mode="nearest"))
        fused = self.ffn(tap("concatenated", torch.cat((fine, resized), dim=1)), tap=tap.into("ffn"))
        return tap("norm", self.norm(tap("norm.input", self._shrunk(fused))))

    def _shrunk(self, x: Tensor) -> Tensor:
        """Means of equal tiles, or, where sides do not divide, linear between the centres of pixels."""
        height, width = x.shape[2:]
        if height % self._side or width % self._side:
            return functional.interpolate(x, size=(self._side, self._side), mode="bilinear", align_corners=False)
        return functional.avg_pool2d(x, (height // self._side, width // self._side))


class MobileNet(nn.Module):
    """MobileNetV5: a stem, four stages of blocks, and the fusion adapter behind the last two."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        channels = stem_channels(config.channel_multiplier)
        stem = Convolution(3, channels, STEM_KERNEL, stride=STEM_STRIDE, bias=True)
        self.conv_stem = ConvolutionNorm(stem, channels)
        self.blocks = nn.ModuleList(Stage(map(block, placed)) for placed in stages(config.channel_multiplier))
        self.msfa = FusionAdapter(config)

    def forward(self, pixels: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, 3, height, width]``; returns ``[image, 2048, side, side]``."""
        x = self.conv_stem(pixels, tap=tap.into("conv_stem"))
        maps = []
        for number, stage in enumerate(self.blocks):
            x = stage(x, tap=tap.into(f"blocks.{number}"))
            maps.append(x)
        return self.msfa(*(maps[stage] for stage in FUSED_STAGES), tap=tap.into("msfa"))


class VisionTower(nn.Module):
    """The network, and its map as tokens (reference: `Gemma3nModel.get_image_features`)."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.timm_model = MobileNet(config)
        self._scale = config.hidden_size**0.5

    def forward(self, pixels: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, 3, height, width]``; returns ``[image, token, 2048]``, row by row."""
        fused = self.timm_model(tap("pixels", pixels), tap=tap)
        return tap("soft_tokens", fused.flatten(2).transpose(1, 2) * self._scale)


class VisionEncoder(nn.Module):
    """The graph ``vision_encoder``: tower and embedder. With ``model.`` before them, names are the checkpoint's.

    Args:
        config: the tower's.
        hidden: width of the language model.
    """

    def __init__(self, config: VisionConfig, hidden: int) -> None:
        super().__init__()
        self.vision_tower = VisionTower(config)
        self.embed_vision = SoftEmbedder(config, hidden)

    def forward(self, pixel_values: Tensor, *, tap: Tap = SILENT) -> Tensor:
        """Run on any number of images of one size, which an exported graph holds as constants.

        Args:
            pixel_values: ``[image, channel=3, height, width]``, float32, red first, in 0 to 1, as the processor gives.
            tap: of the model's scope.

        Returns:
            `image_features` ``[image, token, hidden]``, float32.
        """
        features = self.vision_tower(pixel_values, tap=tap.into("vision"))
        return self.embed_vision(features, tap=tap.into("embed_vision"))
