"""A compiled package (`.mlmodelc`) as a program: its text in Model Intermediate Language, and the file of its weights.

What Xcode compiled keeps the program as text, `model.mil`, beside the weights as they were saved::

    program(1.3)
    [buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
    {
        func main<ios18>(tensor<fp16, [1, 64]> x, state<tensor<fp16, [2, 64]>> kept) {
            tensor<fp16, [64]> w = const()[name = string("w"), val = tensor<fp16, [64]>(BLOBFILE(
                path = string("@model_path/weights/weight.bin"), offset = uint64(64)))];
            tensor<fp16, [1, 64]> y = mul(x = x, y = w)[name = string("y")];
        } -> (y);
    }

Nothing of a program is run to read it, and weights are of files in the package alone.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from lark import Lark, Token, Transformer
from lark.exceptions import LarkError, VisitError

from implementations.coreml.package.program import WEIGHT, Function, Operation, Typed, read_program
from implementations.coreml.package.tools import read_blob, stored
from parity.errors import UsageError

PROGRAM, WEIGHTS, CONSTANT = "model.mil", "weights", "const"
SUFFIXES = SAVED, COMPILED = ".mlpackage", ".mlmodelc"
LONGEST = 1 << 26
"""Bytes of a program: one of 28 layers has 3 million."""
GRAMMAR = r"""
start: "program" "(" NUMBER ")" [attributes] "{" function* "}"
function: "func" NAME "<" NAME ">" "(" [parameters] ")" [attributes] "{" statements "}" "->" "(" [names] ")" ";"
parameters: parameter ("," parameter)*
parameter: type NAME
names: NAME ("," NAME)*
statements: statement*
statement: [parameters "="] NAME "(" [arguments] ")" [attributes] ";"
arguments: argument ("," argument)*
argument: NAME "=" NAME -> of_one
    | NAME "=" "(" [names] ")" -> of_several
    | NAME "=" (literal | NUMBER | STRING) -> written
attributes: "[" [attribute ("," attribute)*] "]"
attribute: NAME "=" literal
type: NAME ["<" (type | shape) ("," (type | shape))* ">"]
shape: "[" [size ("," size)*] "]"
size: NUMBER | "?"
literal: type "(" [item] ")"
?item: NUMBER | NAME | STRING | literal | blob | items
items: "[" [item ("," item)*] "]" | "{" [item ("," item)*] "}" | "(" [item ("," item)*] ")"
blob: "BLOBFILE" "(" attribute ("," attribute)* ")"
NAME: /(?!(inf|nan)\b)[A-Za-z_][A-Za-z0-9_.]*/
NUMBER: /[-+]?(0x[0-9a-f.]+(p[-+]?\d+)?|\d[\d.]*(e[-+]?\d+)?|inf|nan)(?![A-Za-z0-9_])/i
STRING: /"(\\.|[^"\\])*"/
COMMENT: /\/\/[^\n]*/
%import common.WS
%ignore WS
%ignore COMMENT
"""
FORMATS = {"fp16": "float16", "fp32": "float32"}
"""Number formats whose names in a program are not NumPy's."""
TRUTH = {"true": True, "false": False}
OTHERS = ("dict", "list", "tuple")
"""What attributes are of that no operation reads."""


class Type(NamedTuple):
    """What a value is.

    Attributes:
        format: of its numbers, by the program's name.
        shape: 0 for an axis of any length.
        is_state: whether it is kept from call to call.
    """

    format: str
    shape: tuple[int, ...] = ()
    is_state: bool = False


class Named(NamedTuple):
    """A value of a program with its type."""

    type: Type
    name: str

    @property
    def typed(self) -> Typed:
        """The same as functions have it."""
        return Typed(self.name, FORMATS.get(self.type.format, self.type.format), self.type.shape)


class Blob(NamedTuple):
    """Numbers in a file of weights."""

    file: str
    offset: int


class Statement(NamedTuple):
    """An operation as it is written: `given` are names of values, or one value that stands there."""

    outputs: Sequence[Named]
    kind: str
    given: Sequence[tuple[str, Any]]
    attributes: dict[str, Any]

    @property
    def name(self) -> str:
        """Its first output's, or its own kind."""
        return self.outputs[0].name if self.outputs else self.kind

    @property
    def operation(self) -> Operation:
        """What it computes."""
        inputs = {
            parameter: given if isinstance(given, tuple) else (f"{self.name}.{parameter}",)
            for parameter, given in self._told
        }
        return Operation(self.kind, inputs, tuple(each.typed for each in self.outputs))

    @property
    def constants(self) -> dict[str, Any]:
        """What it says of values that nothing computes."""
        if self.kind == CONSTANT:
            return {self.name: self.attributes["val"]}
        return {f"{self.name}.{key}": given for key, given in self._told if not isinstance(given, tuple)}

    @property
    def _told(self) -> list[tuple[str, Any]]:
        """What it is given; before iOS 18 what a weight is made of are attributes."""
        more = self.attributes.items() if self.kind.startswith(WEIGHT) else ()
        return [*self.given, *((key, value) for key, value in more if key != "name")]


def read_package(package: Path) -> dict[str, Function]:
    """The functions of a package, saved or compiled, by name.

    Raises:
        UsageError: for what is none.
    """
    return read_compiled(package) if package.suffix == COMPILED else read_program(package)


def read_compiled(package: Path) -> dict[str, Function]:
    """The functions of a compiled package's program, by name.

    Raises:
        UsageError: for what is no program as text, is cut off, or has weights that are not there.
    """
    file = package / PROGRAM
    try:
        if file.stat().st_size > LONGEST:
            raise ValueError(f"{file.stat().st_size:,} bytes, more than {LONGEST:,}")
        tree = _parser().parse(file.read_text(encoding="utf-8"))
        found: dict[str, Function] = _Reader(package / WEIGHTS).transform(tree)
        if not found:
            raise ValueError("it has no function")
    except (LarkError, OSError, ValueError, RecursionError) as error:
        cause = error.orig_exc if isinstance(error, VisitError) else error
        reason = " ".join(str(cause).split())[:200]
        raise UsageError(f"Core ML package {package}: {PROGRAM} cannot be read: {reason}") from error
    return found


@functools.cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=True)


class _Reader(Transformer[Token, Any]):
    """Makes functions of a program's tree, from its leaves on; the names of its methods are those of the grammar."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self._weights = weights

    def start(self, parts: list[Any]) -> dict[str, Function]:
        _, _, *functions = parts
        return dict(functions)

    def function(self, parts: list[Any]) -> tuple[str, Function]:
        name, _, given, _, statements, outputs = parts
        return name, Function(
            inputs={each.name: each.typed for each in given or () if not each.type.is_state},
            states={each.name: each.typed for each in given or () if each.type.is_state},
            operations=tuple(each.operation for each in statements if each.kind != CONSTANT),
            outputs=tuple(outputs or ()),
            constants={name: value for each in statements for name, value in each.constants.items()},
        )

    def parameter(self, parts: list[Any]) -> Named:
        return Named(*parts)

    def statement(self, parts: list[Any]) -> Statement:
        outputs, kind, given, attributes = parts
        return Statement(outputs or (), kind, given or (), attributes or {})

    def of_one(self, parts: list[Any]) -> tuple[str, Any]:
        parameter, name = parts
        return parameter, TRUTH.get(name, (name,))

    def of_several(self, parts: list[Any]) -> tuple[str, Any]:
        parameter, names = parts
        return parameter, tuple(names or ())

    def written(self, parts: list[Any]) -> tuple[str, Any]:
        return parts[0], parts[1]

    def attribute(self, parts: list[Any]) -> tuple[str, Any]:
        return parts[0], parts[1]

    def attributes(self, parts: list[Any]) -> dict[str, Any]:
        return dict(part for part in parts if part is not None)

    def type(self, parts: list[Any]) -> Type:
        word, *of = parts
        if word == "state":
            return of[0]._replace(is_state=True)
        if word != "tensor":
            return Type(word)
        return Type(of[0].format, of[1])

    def shape(self, parts: list[Any]) -> tuple[int, ...]:
        return tuple(part for part in parts if part is not None)

    def size(self, parts: list[Any]) -> int:
        return int(parts[0]) if parts else 0

    def literal(self, parts: list[Any]) -> Any:
        kind, value = parts
        if kind.format in OTHERS:
            return None
        if isinstance(value, Blob):
            return read_blob(self._weights / value.file, value.offset, kind.format).reshape(kind.shape)
        return _array(kind, value)

    def blob(self, parts: list[Any]) -> Blob:
        told = dict(parts)
        return Blob(PurePosixPath(told["path"]).name, int(told["offset"]))

    def parameters(self, parts: list[Any]) -> list[Any]:
        return parts

    names = statements = arguments = items = parameters

    def NAME(self, token: Token) -> str:
        return str(token)

    def STRING(self, token: Token) -> str:
        return re.sub(r"\\(.)", r"\1", token[1:-1])

    def NUMBER(self, token: Token) -> float:
        text = token.lower()
        if "x" in text:
            return float.fromhex(text)
        return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)


def _array(kind: Type, value: Any) -> Any:
    """What is written out: a number or a word, or an array of the type's shape."""
    found = [TRUTH.get(each, each) if kind.format == "bool" else each for each in _flat(value)]
    if kind.format == "string":
        return found[0] if not kind.shape else found
    return np.array(found, stored(kind.format)).reshape(kind.shape)[()]


def _flat(value: Any) -> list[Any]:
    """All numbers of nested brackets, in order."""
    return [each for part in value for each in _flat(part)] if isinstance(value, list) else [value]
