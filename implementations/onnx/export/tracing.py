"""One torch module to one ONNX graph, by torch's exporter.

Weights are named and not read: modules are built of fake tensors, and a graph takes its weights as inputs until
`implementations.onnx.export.assembly` puts all graphs together. So no exporter folds a weight into a constant, and a
model of any size is exported in the same memory.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir
import onnxscript.optimizer
import torch
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, InlinePass, RemoveUnusedNodesPass
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from parity.tap import ScopedTap

OPSET = 20
DOMAIN, TAP = "parity", "Tap"
"""Domain of the operators that stand for what is not ONNX's, and the one that marks a step."""
SIZES = {"batch": 2, "token": 7, "past": 5, "key": 12, "image": 3, "clip": 4, "frame": 150}
"""Of the axes that a graph leaves open, while it is traced: all different, and none of them 1."""
_FOLDED = 64
"""Elements of a constant that the optimizer may compute: shapes are, tables are not."""


@dataclass(frozen=True)
class Operand:
    """A tensor that enters a graph.

    Attributes:
        name: in the graph.
        shape: a number for each axis, or the name of one that is left open.
        dtype: of its numbers.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: torch.dtype = torch.float32

    def example(self) -> Tensor:
        """One of the sizes that are traced with."""
        return torch.zeros([SIZES[size] if isinstance(size, str) else size for size in self.shape], dtype=self.dtype)

    @property
    def numpy(self) -> np.dtype[Any]:
        """The dtype, as NumPy calls it."""
        return np.dtype(str(self.dtype).removeprefix("torch."))

    def open_axes(self) -> dict[int, Any]:
        """The axes of no fixed size, for torch's exporter, which finds out which of them are the same."""
        return {axis: torch.export.Dim.AUTO for axis, size in enumerate(self.shape) if isinstance(size, str)}


class Traced(nn.Module):
    """A module whose taps are nodes of the graph."""

    def __init__(self, body: nn.Module, call: Callable[..., tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.body, self._call = body, call

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Call the body with its tap."""
        return self._call(self.body, *tensors, tap=ScopedTap(mark))


def mark(step: str, value: Tensor) -> Tensor:
    """A node that hands a step's value on."""
    told: dict[str, Any] = {"step": step, "type": str(value.dtype).removeprefix("torch.")}
    return torch.onnx.ops.symbolic(f"{DOMAIN}::{TAP}", (value,), told, dtype=value.dtype, shape=value.shape, version=1)


def traced(
    build: Callable[[], nn.Module],
    call: Callable[..., tuple[Tensor, ...]],
    inputs: Sequence[Operand],
    outputs: Sequence[str],
    *,
    rewritten: bool = True,
) -> onnx.GraphProto:
    """The graph of a module; its weights are inputs behind the others, by their names in the module.

    Args:
        build: makes the module.
        call: runs it on tensors, with a tap; returns a tensor for each output.
        inputs: what it takes.
        outputs: names of what it gives.
        rewritten: whether a hundred rules are tried at each node, which is half of the time of a graph of an encoder.
            Without, detours are left to the runtime, which has rules of its own.
    """
    with FakeTensorMode(shape_env=ShapeEnv()):
        module = Traced(build(), call).eval()
        examples = tuple(operand.example() for operand in inputs)
    shapes = (tuple(operand.open_axes() for operand in inputs),)
    with _quiet(), torch.no_grad():
        program = torch.export.export(module, examples, dynamic_shapes=shapes, strict=False)
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[operand.name for operand in inputs],
            output_names=list(outputs),
            optimize=False,
            verbose=False,
        )
    assert exported is not None
    _free(exported.model, {name for name, _ in module.named_parameters()} | _buffers(module))
    with _quiet():
        _optimize(exported.model, rewritten)
    return _bare(exported.model)


def _buffers(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_buffers()}


def _free(model: Any, weights: set[str]) -> None:
    """Have a model take its weights as inputs."""
    for name in [name for name in model.graph.initializers if name in weights]:
        value = model.graph.initializers.pop(name)
        value.const_value, value.name = None, name.removeprefix("body.")
        model.graph.inputs.append(value)


def _optimize(model: Any, rewritten: bool) -> None:
    limits: dict[str, Any] = {"input_size_limit": _FOLDED, "output_size_limit": _FOLDED}
    if rewritten:
        onnxscript.optimizer.optimize(model, **limits)
        return
    InlinePass()(model)
    onnxscript.optimizer.fold_constants(model, **limits)
    CommonSubexpressionEliminationPass()(model)
    RemoveUnusedNodesPass()(model)


def _bare(model: Any) -> onnx.GraphProto:
    """The graph without what the exporter tells of it."""
    found: onnx.GraphProto = onnx_ir.serde.serialize_model(model).graph
    for node in found.node:  # where in the source each came from: many times the graph itself
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say of themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def weight_shapes(graph: onnx.GraphProto, beside: Sequence[Operand]) -> Mapping[str, tuple[int, ...]]:
    """Names and shapes of a traced graph's weights: of its inputs those that are not among `beside`."""
    others = {operand.name for operand in beside}
    return {
        value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in graph.input
        if value.name not in others
    }
