"""Graphs put together: layers in the places of the nodes that stand for them, weights as tensors in files.

Layers of the same kind have the same graph with other weights, so each kind is traced once, however many there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from implementations.onnx.export.tracing import OPSET, TAP, Operand, weight_shapes
from implementations.onnx.export.weights import TURNED
from implementations.onnx.package.graph import Tapped, rename, settle

IR_VERSION = 10
"""The version of ONNX's files that came with opset 20, or one behind it: what older runtimes read."""


def inlined(graph: GraphProto, operator: str, bodies: Mapping[int, tuple[str, GraphProto]]) -> None:
    """Put a body in the place of each node of the type `operator`.

    Args:
        graph: changed.
        operator: its nodes have the attribute `index`, and the body's first inputs and its outputs in their order.
        bodies: by index, the scope of its names, e.g. ``layers.3.``, and the body, whose further inputs are weights.
    """
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type != operator:
            nodes.append(node)
            continue
        scope, body = bodies[next(attribute.i for attribute in node.attribute if attribute.name == "index")]
        names = dict(zip((value.name for value in body.input), node.input, strict=False))
        for value in body.input[len(node.input) :]:
            names[value.name] = scope + value.name
            _add_input(graph, value, scope)
        names |= zip((value.name for value in body.output), node.output, strict=True)
        nodes += _placed(graph, body, scope, names)
    del graph.node[:]
    graph.node.extend(nodes)


def _add_input(graph: GraphProto, value: onnx.ValueInfoProto, scope: str) -> None:
    added = graph.input.add()
    added.CopyFrom(value)
    added.name = scope + value.name


def _placed(graph: GraphProto, body: GraphProto, scope: str, names: dict[str, str]) -> list[NodeProto]:
    """Copies of a body's nodes; what is inside it, and its steps, are called by the scope."""
    inside = [tensor.name for tensor in body.initializer] + [name for node in body.node for name in node.output]
    names = {**{name: f"{scope}{name}" for name in inside}, **names}
    for tensor in body.initializer:
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = names[tensor.name]
    copies = []
    for node in body.node:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = scope + node.name
        rename(copy, names)
        for attribute in copy.attribute if copy.op_type == TAP else ():
            if attribute.name == "step":
                attribute.s = scope.encode() + attribute.s
        copies.append(copy)
    return copies


def finished(
    graph: GraphProto, inputs: Sequence[Operand], outputs: Sequence[Operand], scope: str
) -> tuple[ModelProto, list[Tapped]]:
    """A model whose weights are tensors without data yet, and its steps.

    Args:
        graph: traced, and changed; what is among its inputs and not among `inputs` are weights.
        inputs: of the model.
        outputs: of the model; their shapes are told to whoever reads it.
        scope: of its steps, e.g. ``text.``.
    """
    shapes = weight_shapes(graph, inputs)
    shapes = _turned(graph, shapes)
    for node in graph.node:
        for attribute in node.attribute if node.op_type == TAP else ():
            if attribute.name == "step":
                attribute.s = scope.encode() + attribute.s
    steps = settle(graph, TAP)
    for name, shape in shapes.items():
        graph.initializer.append(TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT))
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.extend(map(_described, inputs))
    graph.output.extend(map(_described, outputs))
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, producer_name="parity", ir_version=IR_VERSION, opset_imports=opsets), steps


def _turned(graph: GraphProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Weights as the graph reads them: a matrix that it transposes first is held that way, and the node is gone."""
    found, kept, names = dict(shapes), [], {}
    for node in graph.node:
        if node.op_type == "Transpose" and node.input[0] in shapes:
            name = node.input[0] + TURNED
            found[name], names[node.output[0]] = shapes[node.input[0]][::-1], name
        else:
            kept.append(node)
    for node in kept:
        rename(node, names)
    del graph.node[:]
    graph.node.extend(kept)
    read = {name for node in kept for name in node.input}
    return {name: shape for name, shape in found.items() if name in read}


def _described(operand: Operand) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(operand.numpy)
    return helper.make_tensor_value_info(operand.name, kind, operand.shape)
