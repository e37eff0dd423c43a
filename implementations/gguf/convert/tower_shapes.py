"""Names and shapes of the vision tower's tensors, in a tower of any width."""

from __future__ import annotations

from collections.abc import Iterator

from implementations.gemma3n.mobilenet import (
    FUSED,
    FUSION_EXPANSION,
    STEM_KERNEL,
    Attention,
    Edge,
    Placed,
    fused_inputs,
    stages,
    stem_channels,
)
from implementations.gguf.convert.shapes import Shape

Named = Iterator[tuple[str, Shape]]
COLOURS = 3


def tower_shapes(multiplier: float) -> Named:
    """Name and shape of each tensor of a tower whose channels are `multiplier` times the published ones."""
    stem, fused = stem_channels(multiplier), fused_inputs(multiplier)
    yield "conv_stem.conv.weight", (stem, COLOURS, STEM_KERNEL, STEM_KERNEL)
    yield "conv_stem.conv.bias", (stem,)
    yield "conv_stem.bn.weight", (stem,)
    for stage, blocks in enumerate(stages(multiplier)):
        for index, block in enumerate(blocks):
            for name, shape in _block(block):
                yield f"blocks.{stage}.{index}.{name}", shape
    yield from _convolution("msfa.ffn.pw_exp", (FUSION_EXPANSION * fused, fused, 1, 1))
    yield from _convolution("msfa.ffn.pw_proj", (FUSED, FUSION_EXPANSION * fused, 1, 1))
    yield "msfa.norm.weight", (FUSED,)


def _block(placed: Placed) -> Named:
    block, inputs, middle, outputs = placed.block, placed.inputs, placed.middle, placed.outputs
    if isinstance(block, Edge):
        yield "conv_exp.weight", (middle, inputs, block.kernel, block.kernel)
        yield "bn1.weight", (middle,)
        yield "conv_pwl.weight", (outputs, middle, 1, 1)
        yield "bn2.weight", (outputs,)
        return
    yield "layer_scale.gamma", (outputs,)
    if isinstance(block, Attention):
        yield from _attention(block, inputs)
        return
    if block.start:
        yield from _convolution("dw_start", (inputs, 1, block.start, block.start))
    yield from _convolution("pw_exp", (middle, inputs, 1, 1))
    if block.middle:
        yield from _convolution("dw_mid", (middle, 1, block.middle, block.middle))
    yield from _convolution("pw_proj", (outputs, middle, 1, 1))


def _attention(block: Attention, channels: int) -> Named:
    yield "norm.weight", (channels,)
    yield "attn.query.proj.weight", (block.heads * block.dim, channels, 1, 1)
    for name in ("key", "value"):
        if block.stride > 1:
            yield f"attn.{name}.down_conv.weight", (channels, 1, block.kernel, block.kernel)
            yield f"attn.{name}.norm.weight", (channels,)
        yield f"attn.{name}.proj.weight", (block.dim, channels, 1, 1)
    yield "attn.output.proj.weight", (channels, block.heads * block.dim, 1, 1)


def _convolution(name: str, shape: Shape) -> Named:
    """A convolution and the gain of the norm behind it."""
    yield f"{name}.conv.weight", shape
    yield f"{name}.bn.weight", shape[:1]
