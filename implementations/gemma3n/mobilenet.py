"""MobileNetV5, the vision tower: every block's kind, channels, kernels and strides. No framework.

Built of the blocks of MobileNetV4 (arXiv 2404.10518). Weights are named ``<stage>.<index>`` after the order below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

ARCHITECTURE = "mobilenetv5_300m_enc"
STEM, STEM_KERNEL, STEM_STRIDE = 64, 3, 2
FUSED = 2048
"""Channels of the fused map, whatever the tower's width."""
FUSED_STAGES = (2, 3)
FUSION_EXPANSION = 2
EPS = 1e-6
"""Of every RMSNorm in the tower; config.json's `rms_norm_eps` is the embedder's."""
DIVISOR = 8


@dataclass(frozen=True)
class Edge:
    """Fused inverted residual: a full convolution expands, a 1 x 1 convolution projects.

    Attributes:
        channels: of the output; the input's are those of the block before.
        expansion: how many times the input's channels the middle has.
    """

    channels: int
    stride: int = 1
    kernel: int = 3
    expansion: int = 4


@dataclass(frozen=True)
class Inverted:
    """Universal inverted residual: depthwise, 1 x 1 expansion, depthwise, 1 x 1 projection.

    Attributes:
        start: kernel of the depthwise convolution before the expansion; 0 for none.
        middle: kernel of the one behind it, which then has the stride; 0 for none.
    """

    channels: int
    start: int = 0
    middle: int = 0
    stride: int = 1
    expansion: int = 2


@dataclass(frozen=True)
class Attention:
    """Multi-query attention (arXiv 1911.02150): queries of every pixel, one head of keys and values.

    Attributes:
        heads: of queries.
        dim: of a head; neither scales with the tower's width.
        stride: of the depthwise convolution that keys and values are taken behind; 1 for no such convolution.
    """

    channels: int
    heads: int
    dim: int
    stride: int = 1
    kernel: int = 3


Block = Edge | Inverted | Attention


def _alternating(attention: Attention, count: int) -> tuple[Block, ...]:
    return (attention, Inverted(attention.channels)) * count


STAGES: tuple[tuple[Block, ...], ...] = (
    (Edge(128, stride=2), Edge(128), Edge(128)),
    (
        Inverted(256, start=3, middle=5, stride=2, expansion=6),
        *(Inverted(256, start=kernel, expansion=4) for kernel in (5, 3, 5, 3)),
    ),
    (
        Inverted(640, start=5, middle=5, stride=2, expansion=6),
        *(Inverted(640, start=5, expansion=4),) * 7,
        Inverted(640, expansion=1),
        *_alternating(Attention(640, heads=12, dim=64, stride=2), 14),
    ),
    (
        Inverted(1280, start=5, middle=5, stride=2, expansion=6),
        *_alternating(Attention(1280, heads=16, dim=96), 19),
    ),
)
"""The published tower, 300 M parameters: channels at a multiplier of 1."""


@dataclass(frozen=True)
class Placed:
    """One block in a tower of some width.

    Attributes:
        block: what it is; `channels` are the published tower's.
        inputs: channels of its input.
        outputs: channels of its output.
    """

    block: Block
    inputs: int
    outputs: int

    @property
    def middle(self) -> int:
        """Channels between expansion and projection; the input's for attention."""
        return self.inputs if isinstance(self.block, Attention) else divisible(self.inputs * self.block.expansion)

    @property
    def skips(self) -> bool:
        """Whether the input is added to the output. Attention's stride is its keys': its map keeps its size."""
        strided = not isinstance(self.block, Attention) and self.block.stride > 1
        return self.inputs == self.outputs and not strided


def stem_channels(multiplier: float) -> int:
    """Channels behind the stem: a narrower tower keeps the published ones."""
    return STEM if multiplier < 1 else divisible(STEM * multiplier)


def stages(multiplier: float) -> Iterator[tuple[Placed, ...]]:
    """The blocks of each stage of a tower whose channels are `multiplier` times the published ones."""
    channels = stem_channels(multiplier)
    for blocks in STAGES:
        placed = []
        for block in blocks:
            outputs = divisible(block.channels * multiplier)
            placed.append(Placed(block, channels, outputs))
            channels = outputs
        yield tuple(placed)


def fused_inputs(multiplier: float) -> int:
    """Channels of the fused stages' maps together."""
    last = [blocks[-1].outputs for blocks in stages(multiplier)]
    return sum(last[stage] for stage in FUSED_STAGES)


def divisible(channels: float) -> int:
    """The multiple of 8 nearest to `channels`, at least 8; one more where that would lose over a tenth of them."""
    nearest = max(DIVISOR, int(channels + DIVISOR / 2) // DIVISOR * DIVISOR)
    return nearest + DIVISOR if nearest < 0.9 * channels else nearest


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and behind an axis of `size` so that a convolution gives ``ceil(size / stride)`` values.

    An odd count has its larger half behind: a 3-kernel of stride 2 pads an even axis by (0, 1), not by (1, 1), which
    would shift every later map by a pixel.
    """
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2
