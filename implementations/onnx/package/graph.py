"""A graph in which every step is one tensor, and what is made of it to look inside and to begin each step anew.

`Tapped` says which tensor is which step. All that reads that tensor reads what the step gives, so a graph is

- *exposed* where each step's tensor is an output too, and
- in *lockstep* where all that reads it reads an input instead, which is given the oracle's value. The step's own value
  is still computed, and is an output: one run gives the error of every step from exact inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

ANSWER, SCALED = "answer.", "scaled."
"""What names of inputs that take the oracle's values, and of scaled tensors, begin with."""


@dataclass(frozen=True)
class Tapped:
    """A step of the contract in a graph.

    Attributes:
        step: its name.
        tensor: the tensor that holds its value.
        type: NumPy's name of its numbers.
        layout: how the tensor becomes the step's, as `parity.learning.layout` has it; empty where it is as it is.
    """

    step: str
    tensor: str
    type: str
    layout: str = ""

    @property
    def answer(self) -> str:
        """The input that takes the place of the tensor in lockstep."""
        return ANSWER + self.step


def exposed(
    model: ModelProto,
    steps: Collection[Tapped],
    *,
    answered: Collection[str] = (),
    factors: Mapping[str, float] | None = None,
) -> ModelProto:
    """A copy of `model` with every step's own value among its outputs.

    Args:
        model: its large tensors are in files of their own.
        steps: what is exposed.
        answered: names of steps whose value goes on as it is given to an input, `Tapped.answer`.
        factors: what the values of some other steps are multiplied by before they go on.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    graph, factors = copy.graph, factors or {}
    _redirect(graph, {one.tensor: one.answer for one in steps if one.step in answered})
    graph.input.extend(_described(one.answer, one.type) for one in steps if one.step in answered)
    for one in steps:
        if one.step in factors:
            _scale(graph, one, factors[one.step])
    outputs = {output.name for output in graph.output}
    graph.output.extend(_described(one.tensor, one.type) for one in steps if one.tensor not in outputs)
    return copy


def settle(graph: GraphProto, taps: str) -> list[Tapped]:
    """Give each step a tensor of its own and remove the nodes that marked them; returns the steps in their order.

    The tensor that a mark read becomes the step's, if nothing else reads it; else an `Identity` makes one. It has the
    step's name, or is the output that the step is.

    Args:
        graph: changed.
        taps: the type of operator that marks a step: of one input and one output, with attributes `step` and `type`.
    """
    marks = [node for node in graph.node if node.op_type == taps]
    readers = readers_of(graph)
    outputs = {output.name for output in graph.output}
    free = {name for node in graph.node if node.op_type != taps for name in node.output if readers.get(name) == 1}
    found, names = [], {}
    for node in marks:
        told = {attribute.name: attribute.s.decode() for attribute in node.attribute}
        tensor = node.output[0] if node.output[0] in outputs else told["step"]
        if node.input[0] in free - outputs:
            names[node.input[0]] = tensor
        names[node.output[0]] = tensor
        found.append(Tapped(told["step"], tensor, told["type"]))
    kept = list(_settled(graph.node, taps, names))
    del graph.node[:]
    graph.node.extend(kept)
    return found


def readers_of(graph: GraphProto) -> dict[str, int]:
    """How many times nodes read each tensor."""
    counts: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            counts[name] = counts.get(name, 0) + 1
    return counts


def tensors_of(graph: GraphProto) -> set[str]:
    """Names of all that is given to a graph or computed in it."""
    return {name for node in graph.node for name in node.output} | {value.name for value in graph.input}


def rename(node: NodeProto, names: Mapping[str, str]) -> None:
    """Have a node read and give tensors by other names."""
    for place, name in enumerate(node.input):
        node.input[place] = names.get(name, name)
    for place, name in enumerate(node.output):
        node.output[place] = names.get(name, name)


def _settled(nodes: Iterable[NodeProto], taps: str, names: Mapping[str, str]) -> Iterator[NodeProto]:
    for node in nodes:
        rename(node, names)
        if node.op_type != taps:
            yield node
        elif node.input[0] != node.output[0]:
            yield helper.make_node("Identity", node.input, node.output)


def _redirect(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Have all nodes read other tensors in place of some."""
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)


def _scale(graph: GraphProto, tapped: Tapped, factor: float) -> None:
    """Have all nodes read a step's value times a factor."""
    scaled, constant = SCALED + tapped.step, f"{SCALED}{tapped.step}.factor"
    _redirect(graph, {tapped.tensor: scaled})
    graph.initializer.append(numpy_helper.from_array(np.array(factor, tapped.type), constant))
    made = next(place for place, node in enumerate(graph.node) if tapped.tensor in node.output)
    graph.node.insert(made + 1, helper.make_node("Mul", [tapped.tensor, constant], [scaled]))


def _described(name: str, kind: str) -> onnx.ValueInfoProto:
    """A tensor of any shape."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), None)
