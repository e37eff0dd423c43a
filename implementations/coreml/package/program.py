"""The program that a Core ML package holds, as it was saved: functions, operations, constants.

Read of the package's own description, operation by operation; coremltools reads the numbers of its weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from implementations.coreml.package.folder import MAIN, SIDECAR, Package
from implementations.coreml.package.tools import coremltools, milproto
from parity.errors import UsageError

NUMBERS = {
    1: "bool",
    2: "string",
    10: "float16",
    11: "float32",
    21: "int8",
    22: "int16",
    23: "int32",
    31: "uint8",
    32: "uint16",
}
"""Number formats by their numbers in the format's description (`MIL.proto`): those of values between operations."""

WEIGHT = "constexpr_"
"""What begins the kinds of operations that stand for weights in fewer bits. Before iOS 18 what they are given are
attributes, as a constant's value is."""


@dataclass(frozen=True)
class Typed:
    """A value of a program.

    Attributes:
        name: unique in its function.
        dtype: of `NUMBERS`; empty for others.
        shape: nothing for a number without axes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        kind: what the format calls it.
        inputs: for each of its parameters the values that it is given, by name.
        outputs: what it gives.
    """

    kind: str
    inputs: Mapping[str, tuple[str, ...]]
    outputs: tuple[Typed, ...]


@dataclass(frozen=True)
class Function:
    """A function of a program.

    Attributes:
        inputs: what it takes.
        states: what it keeps from call to call.
        operations: in order; without those that are constants.
        outputs: names of what it gives.
        constants: by name: arrays, numbers, strings.
    """

    inputs: Mapping[str, Typed]
    states: Mapping[str, Typed]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Any]

    def refusal(self, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
        """Why a call with tensors of these shapes cannot be of this function; None where it can."""
        for name, typed in {**self.inputs, **self.states}.items():
            if name not in shapes:
                return f"takes {name}, which no package before it gives"
            if shapes[name] != typed.shape:
                return f"is compiled for {name} of {[*typed.shape]}, not of {[*shapes[name]]}"
        return None


def chosen(name: str, functions: Iterable[Function], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Which of a package's functions is compiled for tensors of these shapes.

    Raises:
        UsageError: where none is; it says why the first is not.
    """
    refusals = [function.refusal(shapes) for function in functions]
    if None not in refusals:
        raise UsageError(f"backend coreml: {name}.mlpackage {refusals[0]}")
    return refusals.index(None)


def read_program(package: Path) -> dict[str, Function]:
    """The functions of a package's program, by name.

    Raises:
        UsageError: for what is no package, holds no program, or is cut off.
    """
    try:
        model = coremltools.models.MLModel(str(package), skip_model_load=True)
        spec = model.get_spec()
        if spec.WhichOneof("Type") != "mlProgram":
            raise ValueError(f"it holds a {spec.WhichOneof('Type')} and no program")
        if not spec.mlProgram.functions:
            raise ValueError("it has no function")
        return {name: _function(one, model.weights_dir) for name, one in spec.mlProgram.functions.items()}
    except Exception as error:  # coremltools raises bare exceptions of several kinds
        lacking = "it has no " if isinstance(error, KeyError) else ""
        raise UsageError(
            f"Core ML package {package} cannot be read: {lacking}{' '.join(str(error).split())}"
        ) from error


def read_functions(package: Package, name: str) -> dict[str, Function]:
    """The functions of a part of a folder, by name, whether they are in one package or in one each.

    Raises:
        UsageError: as `read_program`, or for other functions than the folder says.
    """
    files = package.files(name)
    found = {file: read_program(file) for file in files.values()}
    if len(found) < len(files) or [*files] == [MAIN]:
        (programs,) = found.values()
    else:
        programs = {f: one for f, file in files.items() for one in found[file].values() if [*found[file]] == [MAIN]}
    if programs.keys() != files.keys():
        raise UsageError(
            f"package {package.folder}: {name} has the functions {', '.join(programs)}, not those of {SIDECAR}; "
            "convert it again"
        )
    return programs


def _function(described: Any, weights: str) -> Function:
    context = milproto.TranscriptionContext(weights)
    constants: dict[str, Any] = {}
    operations = []
    for one in described.block_specializations[described.opset].operations:
        if one.type == "const":
            constants[one.outputs[0].name] = milproto._load_value(context, one.attributes["val"])
        else:
            operations.append(_operation(one, context, constants))
    block = described.block_specializations[described.opset]
    inputs = {each.name: each for each in map(_typed, described.inputs) if each is not None}
    states = {name: _wrapped(each) for each in described.inputs if (name := each.name) not in inputs}
    return Function(inputs, states, tuple(operations), tuple(block.outputs), constants)


def _operation(one: Any, context: Any, constants: dict[str, Any]) -> Operation:
    """An operation; values that are written where it reads them become constants."""
    if one.blocks:
        raise ValueError(f"operation {one.type} has blocks of its own")
    inputs = {}
    for parameter, argument in one.inputs.items():
        inputs[parameter] = tuple(each.name or f"{one.outputs[0].name}.{parameter}" for each in argument.arguments)
        for name, each in zip(inputs[parameter], argument.arguments, strict=True):
            if each.WhichOneof("binding") == "value":
                constants[name] = milproto._load_value(context, each.value)
    for name, value in one.attributes.items() if one.type.startswith(WEIGHT) else ():
        if name != "name":
            inputs[name] = (f"{one.outputs[0].name}.{name}",)
            constants[inputs[name][0]] = milproto._load_value(context, value)
    return Operation(one.type, inputs, tuple(filter(None, map(_typed, one.outputs))))


def _typed(value: Any) -> Typed | None:
    """A value that is a tensor; None for a state."""
    if value.type.WhichOneof("type") != "tensorType":
        return None
    tensor = value.type.tensorType
    shape = tuple(axis.constant.size for axis in tensor.dimensions)
    return Typed(value.name, NUMBERS.get(tensor.dataType, ""), shape)


def _wrapped(value: Any) -> Typed:
    """The tensor that a state keeps."""
    tensor = value.type.stateType.wrappedType.tensorType
    shape = tuple(axis.constant.size for axis in tensor.dimensions)
    return Typed(value.name, NUMBERS.get(tensor.dataType, ""), shape)
