"""A stand-in for packages that others publish: ours without `steps.json`, and in each of the ways in which they differ.

Changes of positions come in the order of `DECODERS`: each takes what `position_ids` is, whatever is made of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, TensorProto, helper, numpy_helper

from implementations.onnx.package.folder import AUDIO, DECODER, FOLDER, SIDECAR, graph_file
from implementations.onnx.package.graph import rename

LAYERS, OWNERS = 25, 20
"""Of the embedded checkpoint, and how many of them have keys of their own."""


def _read(graph: GraphProto, name: str, other: str) -> None:
    """Have all nodes read another tensor in place of one."""
    for node in graph.node:
        for place, given in enumerate(node.input):
            node.input[place] = other if given == name else given


def _first(graph: GraphProto, *nodes: onnx.NodeProto) -> None:
    for node in reversed(nodes):
        graph.node.insert(0, node)


def all_layers(graph: GraphProto) -> None:
    """Keys and values of shared layers go in and come out, and nothing reads them."""
    for layer in range(OWNERS, LAYERS):
        for what in ("key", "value"):
            shape = ["batch", 2, f"past_{layer}", 32]
            taken = helper.make_tensor_value_info(f"past_key_values.{layer}.{what}", TensorProto.FLOAT, shape)
            given = helper.make_tensor_value_info(f"present.{layer}.{what}", TensorProto.FLOAT, shape)
            graph.input.append(taken)
            graph.output.append(given)
            graph.node.append(helper.make_node("Identity", [taken.name], [given.name]))


def one_based(graph: GraphProto) -> None:
    """The first token's position is 1."""
    _read(graph, "position_ids", "position_ids.from_0")
    graph.initializer.append(numpy_helper.from_array(np.array(1), "position_ids.first"))
    _first(graph, helper.make_node("Sub", ["position_ids", "position_ids.first"], ["position_ids.from_0"]))


def masked(graph: GraphProto) -> None:
    """Positions are counted in a mask of all tokens: of those of this chunk the last is the last of all."""
    _read(graph, "position_ids", "position_ids.counted")
    graph.input.append(helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "total"]))
    graph.input.append(helper.make_tensor_value_info("num_logits_to_keep", TensorProto.INT64, []))
    for name, value in (("mask.axis", [1]), ("mask.0", 0), ("mask.1", 1)):
        graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    _first(
        graph,
        helper.make_node("ReduceSum", ["attention_mask", "mask.axis"], ["mask.real"]),
        helper.make_node("Shape", ["position_ids"], ["mask.shape"]),
        helper.make_node("Gather", ["mask.shape", "mask.1"], ["mask.chunk"]),
        helper.make_node("Range", ["mask.0", "mask.chunk", "mask.1"], ["mask.index"]),
        helper.make_node("Sub", ["mask.real", "mask.chunk"], ["mask.before"]),
        helper.make_node("Add", ["mask.before", "mask.index"], ["position_ids.counted"]),
    )


def anonymous(graph: GraphProto) -> None:
    """What is computed inside has names that say nothing."""
    outside = {value.name for value in (*graph.input, *graph.output)}
    inside = (name for node in graph.node for name in node.output if name and name not in outside)
    names = {name: f"tensor.{number}" for number, name in enumerate(inside)}
    for node in graph.node:
        rename(node, names)
    del graph.value_info[:]


def unpadded(graph: GraphProto) -> None:
    """Soft tokens of a clip are those of its frames; the loop puts silence behind them."""
    graph.node.remove(next(node for node in graph.node if "audio_features" in node.output))
    graph.node.append(helper.make_node("Identity", ["embed_audio.soft"], ["audio_features"]))
    output = next(value for value in graph.output if value.name == "audio_features")
    output.type.tensor_type.shape.dim[1].dim_param = "frame"


def mask_of_floats(graph: GraphProto) -> None:
    """1.0 where a frame is sound."""
    _read(graph, "input_features_mask", "input_features_mask.bool")
    taken = next(value for value in graph.input if value.name == "input_features_mask")
    taken.type.tensor_type.elem_type = TensorProto.FLOAT
    cast = helper.make_node("Cast", [taken.name], ["input_features_mask.bool"], to=TensorProto.BOOL)
    _first(graph, cast)


Change = Callable[[GraphProto], None]
DECODERS: dict[str, Change] = {"all layers": all_layers, "masked": masked, "one-based": one_based}
ENCODERS: dict[str, Change] = {"unpadded": unpadded, "mask of floats": mask_of_floats}


def write_published(package: Path, folder: Path, decoder: list[Change], audio: list[Change]) -> Path:
    """A package of others, made of one of ours: with its graphs changed, and without `steps.json`."""
    (folder / FOLDER).mkdir(parents=True)
    for file in package.rglob("*.*"):
        if file.name != SIDECAR:
            os.link(file, folder / file.relative_to(package))
    for name, changes in ((DECODER, decoder), (AUDIO, audio)):
        file = graph_file(folder / FOLDER, name)
        model = onnx.load(file, load_external_data=False)
        for change in changes:
            change(model.graph)
        file.unlink()
        file.write_bytes(model.SerializeToString())
    return folder
