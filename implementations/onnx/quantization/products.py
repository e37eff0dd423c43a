"""How a graph computes its products with quantised weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper

from implementations.onnx.package.types import BLOCKS, INTEGER
from parity.errors import UsageError

NBITS, INTEGERS = "MatMulNBits", "MatMulInteger"
ACCURACY = "accuracy_level"
"""The attribute that says what `MatMulNBits` may round the factor that is no weight to."""
EIGHT_BITS = 4
"""Its level of 8 bits; below, the processor computes in float32."""


def arithmetic_of(models: Iterable[ModelProto]) -> str:
    """The arithmetic in which graphs compute on a processor.

    Raises:
        UsageError: for one that has no name.
    """
    found = [*models]
    nodes = [node for model in found for node in model.graph.node]
    half = any(value.type.tensor_type.elem_type == TensorProto.FLOAT16 for m in found for value in m.graph.output)
    if half and any(_is_blocks(node) for node in nodes):
        raise UsageError("backend onnx: products of 8 bits in a float16 graph have no arithmetic here; give accuracy=0")
    if half:
        return "float16"
    if any(node.op_type == INTEGERS for node in nodes):
        return INTEGER
    return BLOCKS if any(map(_is_blocks, nodes)) else "float32"


def with_accuracy(model: ModelProto, level: int | None) -> ModelProto:
    """The graph with another accuracy level of its products of 4 bits; None leaves what it says."""
    for node in model.graph.node if level is not None else ():
        if node.op_type == NBITS:
            kept = [attribute for attribute in node.attribute if attribute.name != ACCURACY]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(ACCURACY, level)])
    return model


def _is_blocks(node: NodeProto) -> bool:
    return node.op_type == NBITS and any(one.i == EIGHT_BITS for one in _levels(node))


def _levels(node: NodeProto) -> Iterator[AttributeProto]:
    return (attribute for attribute in node.attribute if attribute.name == ACCURACY)
