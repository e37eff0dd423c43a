"""Writes a saved package as Xcode leaves a compiled one: its program as text, its weights beside it."""

from __future__ import annotations

import shutil

import numpy as np

from implementations.coreml.package.tools import coremltools

FORMATS = {
    1: "bool", 2: "string", 10: "fp16", 11: "fp32", 21: "int8", 22: "int16", 23: "int32", 25: "int4", 31: "uint8",
    33: "uint32", 35: "uint4", 38: "uint6",
}  # fmt: skip
HEAD = 'program(1.3)\n[buildInfo = dict<string, string>({{"coremlc-component-MIL", "3520.4.1"}})]\n{\n'


def write_compiled(package, folder):
    """Of a `.mlpackage` a `.mlmodelc`."""
    model = coremltools.models.MLModel(str(package), skip_model_load=True)
    folder.mkdir()
    if model.weights_dir:
        shutil.copytree(model.weights_dir, folder / "weights")
    functions = model.get_spec().mlProgram.functions
    (folder / "model.mil").write_text(HEAD + "".join(function(name, functions[name]) for name in functions) + "}\n")


def function(name, one):
    block = one.block_specializations[one.opset]
    given = ", ".join(f"{kind(each.type)} {each.name}" for each in one.inputs)
    lines = "".join(f"        {statement(each)};\n" for each in block.operations)
    return f"    func {name}<ios18>({given}) {{\n{lines}    }} -> ({', '.join(block.outputs)});\n"


def statement(one):
    outputs = ", ".join(f"{kind(each.type)} {each.name}" for each in one.outputs)
    given = ", ".join(f"{name} = {argument(each.arguments)}" for name, each in one.inputs.items())
    told = ", ".join(f"{name} = {literal(each)}" for name, each in one.attributes.items())
    return f"{outputs}{' = ' * bool(outputs)}{one.type}({given})[{told}]"


def argument(given):
    names = [each.name if each.WhichOneof("binding") == "name" else literal(each.value) for each in given]
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


def kind(type_):
    if type_.WhichOneof("type") == "stateType":
        return f"state<{kind(type_.stateType.wrappedType)}>"
    tensor = type_.tensorType
    sizes = [str(axis.constant.size) if axis.HasField("constant") else "?" for axis in tensor.dimensions]
    number = FORMATS[tensor.dataType]
    return f"tensor<{number}, [{', '.join(sizes)}]>" if sizes else number


def literal(value):
    if value.WhichOneof("value") == "blobFileValue":
        blob = value.blobFileValue
        inside = f'BLOBFILE(path = string("{blob.fileName}"), offset = uint64({blob.offset}))'
    else:
        inside = ", ".join(numbers(value))
        inside = f"[{inside}]" if value.type.tensorType.dimensions else inside
    return f"{kind(value.type)}({inside})"


def numbers(value):
    tensor = value.immediateValue.tensor
    which = tensor.WhichOneof("value")
    if which == "bytes":
        dtype = {10: np.float16, 21: np.int8, 22: np.int16, 31: np.uint8, 33: np.uint32}[value.type.tensorType.dataType]
        found = np.frombuffer(tensor.bytes.values, dtype)
        return [float(each).hex() if dtype is np.float16 else str(each) for each in found]
    found = getattr(tensor, which).values
    if which == "strings":
        return [f'"{each}"' for each in found]
    return [str(each).lower() if which == "bools" else each.hex() if which == "floats" else str(each) for each in found]
