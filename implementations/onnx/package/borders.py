"""The steps of a package that has no `steps.json`: what goes into its graphs, and what comes out of them.

Published packages do not say which tensor is which step, but the names of their inputs and outputs are all the same. So
they are judged at these borders, and a bug between two of them is found at the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from onnx import GraphProto, ValueInfoProto, helper

from implementations.onnx.package.graph import Tapped

NAMES: Final = {
    "input_ids": "text.input_ids",
    "per_layer_inputs": "text.per_layer_inputs.token",
    "inputs_embeds": "text.inputs_embeds",
    "logits": "text.logits",
    "pixel_values": "vision.pixels",
    "image_features": "embed_vision.soft",
    "input_features": "audio.mel",
    "audio_features": "embed_audio.soft_tokens",
}
UNPADDED: Final = "embed_audio.soft"
GIVEN: Final = ("input_ids", "inputs_embeds", "pixel_values", "input_features")
"""Those that are steps where a graph takes them. One graph's output is the next one's input, and a step only once: the
embeddings are the decoder's, for soft tokens come into them on the way, and per-layer inputs are the embedder's."""
KEPT: Final = re.compile(r"present\.(0|[1-9]\d{0,3})\.(key|value)")


def border_steps(graph: GraphProto, owners: int) -> tuple[Tapped, ...]:
    """The steps that a graph's inputs and outputs are, in the order in which they are known.

    Args:
        graph: of a package.
        owners: how many layers have keys of their own; what is given of the others is nothing, or their donors'.
    """
    return (*_given(graph), *_kept(graph, owners), *_made(graph))


def _given(graph: GraphProto) -> Iterator[Tapped]:
    for value in graph.input:
        if value.name in GIVEN:
            yield _tapped(NAMES[value.name], value)


def _kept(graph: GraphProto, owners: int) -> Iterator[Tapped]:
    """Keys and values that the queries of each layer see."""
    for value in graph.output:
        if (found := KEPT.fullmatch(value.name)) and int(found[1]) < owners:
            layer, what = found.groups()
            yield _tapped(f"text.layers.{layer}.attn.{what}s", value)


def _made(graph: GraphProto) -> Iterator[Tapped]:
    for value in graph.output:
        if value.name in NAMES and value.name not in GIVEN:
            yield _tapped(UNPADDED if _is_unpadded(value) else NAMES[value.name], value)


def _is_unpadded(value: ValueInfoProto) -> bool:
    """Whether these are soft tokens of frames, as many as a clip has, and not of the places in the prompt."""
    return value.name == "audio_features" and not value.type.tensor_type.shape.dim[1].dim_value


def _tapped(step: str, value: ValueInfoProto) -> Tapped:
    return Tapped(step, value.name, helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name)
