"""A float32 graph in float16: all but what float16 cannot hold.

Angles of the rotary embedding grow with the position, of which float16 knows 2,048 apart, and the mean square of a
stream of a few hundred overflows it. The reference computes both in float32 too, whatever the model is in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnx import GraphProto, ModelProto, NodeProto, shape_inference

ANGLES = ("Cos", "Sin")
OF_STATISTICS = ("Sqrt", "Add", "Clip", "ReduceMean", "Reshape", "Mul", "Pow")
"""Operators between a stream and its root mean square; the last two square it."""


def halved(model: ModelProto) -> tuple[ModelProto, set[str]]:
    """The graph in float16, inputs and outputs too, and which of its tensors are in float32 all the same.

    Every tensor keeps its name; one in float32 that anything in float16 reads is a cast's.

    Args:
        model: with its tensors; changed.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    for place, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{place}"
    model = shape_inference.infer_shapes(model)
    wide = _wide(model.graph)
    inside = _inside(model.graph, wide)
    known = [value for value in model.graph.value_info if value.name not in inside]
    del model.graph.value_info[:]
    model.graph.value_info.extend(known)  # what the converter does not know of it leaves as it is
    found: ModelProto = convert_float_to_float16(model, disable_shape_infer=True, node_block_list=sorted(wide))
    del found.graph.value_info[:]
    OnnxModel.graph_topological_sort(found.graph, is_deterministic=True)  # the converter adds casts at the end
    return found, inside


def _wide(graph: GraphProto) -> set[str]:
    """Names of the nodes that stay in float32."""
    made = {name: node for node in graph.node for name in node.output}
    ends = [node for node in graph.node if node.op_type in ANGLES]
    roots = [node for node in graph.node if node.op_type == "Sqrt"]
    found = {node.name for node in _before(ends, made)}
    return found | {node.name for root in roots for node in _statistics(root, made)}


def _before(ends: list[NodeProto], made: Mapping[str, NodeProto]) -> Iterator[NodeProto]:
    """Nodes, and all that they are computed of."""
    seen: set[str] = set()
    left = [*ends]
    while left:
        node = left.pop()
        if node.name not in seen:
            seen.add(node.name)
            yield node
            left += [made[name] for name in node.input if name in made]


def _statistics(root: NodeProto, made: Mapping[str, NodeProto]) -> Iterator[NodeProto]:
    """The nodes from a square to its root."""
    node: NodeProto | None = root
    while node is not None and node.op_type in OF_STATISTICS:
        yield node
        node = None if node.op_type in ("Mul", "Pow") else made.get(node.input[0])


def _inside(graph: GraphProto, wide: set[str]) -> set[str]:
    """Tensors that are made and read by nodes in float32 alone."""
    read_by: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            read_by.setdefault(name, set()).add(node.name)
    outputs = {output.name for output in graph.output}
    made = {name for node in graph.node if node.name in wide for name in node.output}
    return {name for name in made - outputs if read_by.get(name, {""}) <= wide}
