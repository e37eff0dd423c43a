"""The table: which node of libmtmd's graph of the vision tower is which step of the contract.

No node has a name of its own. Each is found by the weight that it reads (``v.blk.2.3.pw_exp.conv.weight``), or is the
first of its kind behind one that does, as an activation behind its norm's gain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from implementations.gemma3n.mobilenet import Attention, Edge, Placed, stages

MAP, LAST = "channel height width", "width height channel"
"""A map as convolutions have it, and as norms do; axes as they lie in memory, the slowest first."""
FLAT, TOKENS = "channel pixel", "token channel"
"""A depthwise convolution's map, and the soft tokens."""
CONVOLUTION, GAIN, FLATTENED = "CONV_2D", "MUL", "MUL_MAT"
INPUT, SCALE, PROJECTION = "inp_raw", "layer_scale.gamma", "mm.input_projection.weight"
SOFT = "embed_vision.soft"
WIDTH = 2048
"""Channels of soft tokens, and of the language model that libmtmd makes them for, whatever a file's tensors say."""


@dataclass(frozen=True)
class Node:
    """A step and where it is in the graph.

    Attributes:
        step: its name; in a block's table behind the block's scope.
        weight: the last weight that was read before it, by itself or by a node before; or the graph's input.
        op: what the node computes: the first such one since then.
        memory: its axes.
        source: the value is this source of the node, read before it runs; None where it is the node's own.
    """

    step: str
    weight: str
    op: str
    memory: str = MAP
    source: int | None = None

    @property
    def address(self) -> tuple[str, str]:
        """Where it is found."""
        return self.weight, self.op


def table(multiplier: float) -> Iterator[Node]:
    """The steps of a tower whose channels are `multiplier` times the published ones."""
    yield Node("vision.pixels", INPUT, "PAD", source=0)
    yield Node("vision.conv_stem.conv", "v.conv_stem.conv.bias", "ADD")
    yield from _placed(_normed("bn", active=True), "vision.conv_stem.", "v.conv_stem.")
    last = ""
    for stage, blocks in enumerate(stages(multiplier)):
        for index, block in enumerate(blocks):
            last = f"v.blk.{stage}.{index}."
            yield from _placed(_block(block), f"vision.blocks.{stage}.{index}.", last)
    yield from _fused(f"{last}{SCALE}")


def _block(placed: Placed) -> Iterator[Node]:
    block = placed.block
    if isinstance(block, Edge):
        yield from _edge(placed)
        return
    if isinstance(block, Attention):
        yield from _attention(block)
    else:
        if block.start:
            yield from _depthwise("dw_start", active=False)
        yield from _pointwise("pw_exp", active=True)
        if block.middle:
            yield from _depthwise("dw_mid", active=True)
        yield from _pointwise("pw_proj", active=False)
    yield Node("layer_scale", SCALE, GAIN)
    yield Node("out", SCALE, "ADD" if placed.skips else GAIN)


def _edge(placed: Placed) -> Iterator[Node]:
    yield Node("conv_exp", "conv_exp.weight", CONVOLUTION)
    yield from _normed("bn1", active=True)
    yield Node("conv_pwl", "conv_pwl.weight", CONVOLUTION)
    yield from _normed("bn2", active=False)
    yield Node("out", "bn2.weight", "ADD") if placed.skips else Node("out", "bn2.weight", GAIN, LAST)


def _attention(block: Attention) -> Iterator[Node]:
    yield Node("norm", "norm.weight", GAIN, LAST)
    for name in ("query", "key", "value"):
        if block.stride > 1 and name != "query":
            yield Node(f"attn.{name}.norm.input", f"attn.{name}.down_conv.weight", FLATTENED, FLAT)
            yield Node(f"attn.{name}.norm", f"attn.{name}.norm.weight", GAIN, LAST)
        yield Node(f"attn.{name}", f"attn.{name}.proj.weight", CONVOLUTION)
    yield Node("attn.context", "attn.output.proj.weight", CONVOLUTION, source=1)
    yield Node("attn.output", "attn.output.proj.weight", CONVOLUTION)


def _pointwise(name: str, *, active: bool) -> Iterator[Node]:
    yield Node(f"{name}.conv", f"{name}.conv.weight", CONVOLUTION)
    yield from _normed(f"{name}.bn", active=active)


def _depthwise(name: str, *, active: bool) -> Iterator[Node]:
    """Neighbours are gathered for each pixel, which ggml then multiplies."""
    yield Node(f"{name}.conv", f"{name}.conv.weight", FLATTENED, FLAT)
    yield from _normed(f"{name}.bn", active=active)


def _normed(name: str, *, active: bool) -> Iterator[Node]:
    yield Node(name, f"{name}.weight", GAIN, LAST)
    if active:
        yield Node(f"{name}.act", f"{name}.weight", "GELU")


def _fused(last: str) -> Iterator[Node]:
    """The adapter behind the last block, whose gain is `last`, and the projector."""
    expansion, projection = _pointwise("pw_exp", active=True), _pointwise("pw_proj", active=False)
    gain = "v.msfa.ffn.pw_proj.bn.weight"
    yield Node("vision.msfa.resized", last, "UPSCALE")
    yield Node("vision.msfa.concatenated", last, "CONCAT")
    yield from _placed((*expansion, *projection), "vision.msfa.ffn.", "v.msfa.ffn.")
    yield Node("vision.msfa.ffn.out", gain, GAIN, LAST)
    yield Node("vision.msfa.norm.input", gain, "RMS_NORM", LAST, source=0)
    yield Node("vision.msfa.norm", "v.msfa.norm.weight", GAIN, LAST)
    yield Node("vision.soft_tokens", "v.msfa.norm.weight", "SCALE", TOKENS)
    yield Node(SOFT, PROJECTION, "RMS_NORM", TOKENS)


def _placed(nodes: Iterator[Node] | tuple[Node, ...], scope: str, weights: str) -> Iterator[Node]:
    """The nodes of a part, with the names that its steps and its weights begin with."""
    return (replace(node, step=scope + node.step, weight=weights + node.weight) for node in nodes)
