"""The graphs of a package in another number format, beside those in float32 that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import ModelProto

from implementations.onnx.package.folder import EMBEDDER, graph_file, read_steps
from implementations.onnx.package.graph import Tapped, tensors_of
from implementations.onnx.package.types import TYPES
from implementations.onnx.quantization.half import halved
from implementations.onnx.quantization.integers import of_eight_bits, of_four_bits
from parity.errors import UsageError

SMALL = 1024
"""Bytes of a tensor that stays in the graph's own file."""

Made = tuple[ModelProto, list[Tapped]]


def convert(folder: Path, name: str, kind: str) -> list[Tapped]:
    """Write a graph of a folder, which is there in float32, in another format beside it; returns its steps.

    Raises:
        UsageError: for a step that the new graph has lost.
    """
    file = graph_file(folder, name + TYPES[kind].suffixes[0])
    model, steps = CONVERSIONS[kind](name, onnx.load(graph_file(folder, name)), read_steps(folder)[name])
    _require_steps(model, steps, file)
    data = file.with_name(f"{file.name}_data")
    onnx.save(model, file, save_as_external_data=True, location=data.name, size_threshold=SMALL)
    if data.exists():
        data.chmod(file.stat().st_mode)  # it is made as a temporary file, which nobody else may read
    return steps


def _half(name: str, model: ModelProto, steps: Sequence[Tapped]) -> Made:
    found, wide = halved(model)
    narrow = {one.tensor for one in steps if one.type == "float32"} - wide
    return found, [replace(one, type="float16") if one.tensor in narrow else one for one in steps]


def _four_bits(name: str, model: ModelProto, steps: Sequence[Tapped]) -> Made:
    if name == EMBEDDER:
        return of_eight_bits(model, ("Gather",), signed=True), [*steps]
    return of_four_bits(model), [*steps]


def _half_of_four_bits(name: str, model: ModelProto, steps: Sequence[Tapped]) -> Made:
    found, narrow = _half(name, model, steps)
    return (found if name == EMBEDDER else of_four_bits(found)), narrow


def _eight_bits(*, signed: bool) -> Callable[[str, ModelProto, Sequence[Tapped]], Made]:
    def made(name: str, model: ModelProto, steps: Sequence[Tapped]) -> Made:
        kinds = ("Gather",) if name == EMBEDDER else ("MatMul",)
        return of_eight_bits(model, kinds, signed=signed), [*steps]

    return made


CONVERSIONS: dict[str, Callable[[str, ModelProto, Sequence[Tapped]], Made]] = {
    "fp16": _half,
    "q4": _four_bits,
    "q4f16": _half_of_four_bits,
    "int8": _eight_bits(signed=True),
    "uint8": _eight_bits(signed=False),
}


def _require_steps(model: ModelProto, steps: Sequence[Tapped], file: Path) -> None:
    there = tensors_of(model.graph)
    if lost := [one.step for one in steps if one.tensor not in there]:
        raise UsageError(f"{file.name} would have no tensor of step {lost[0]}; was it made by another ONNX Runtime?")
