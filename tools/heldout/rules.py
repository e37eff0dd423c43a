"""The rules by which a line of a port is made wrong: each is a mistake that people make, as a change of one expression.

All of them were fixed before any fault was judged, but that products of lists are passed over. A rule looks at one
expression and gives what may stand there instead; it knows no model, no table and no step.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeGuard

Rule = Callable[[ast.expr, Sequence[str]], Iterator[ast.expr]]
"""Given an expression, and the modules that its function calls as ``self.NAME(...)`` in their order."""

SHAPING = frozenset({
    "arange", "argpartition", "argsort", "astype", "concatenate", "expand_dims", "flatten", "getattr", "hasattr", "int",
    "isinstance", "len", "moveaxis", "partial", "range", "reshape", "split", "squeeze", "stop_gradient", "swapaxes",
    "take_along_axis", "transpose", "unflatten", "zeros", "zip",
})  # fmt: skip
"""Functions whose arguments behind the first are sizes and axes, or lists: to exchange them is a crash."""
ACTIVATIONS = {
    "nn.silu": "nn.gelu",
    "nn.gelu": "nn.gelu_approx",
    "nn.gelu_approx": "nn.gelu",
    "nn.relu": "nn.silu",
    "nn.relu2": "nn.relu",
    "nn.softplus": "nn.relu",
    "mx.sigmoid": "mx.tanh",
    "mx.tanh": "mx.sigmoid",
    "swiglu": "(lambda gate, x: nn.gelu(gate) * x)",
}


def minus(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """A sum becomes a difference."""
    if _is(node, ast.Add):
        yield ast.BinOp(node.left, ast.Sub(), node.right)


def term(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """A summand is forgotten: a residual, a bias, the 1 of a gain 1 + w."""
    if _is(node, ast.Add):
        yield node.right if isinstance(node.left, ast.Constant) else node.left


def factor(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """A factor or a divisor is forgotten: a gate, a gain, a scale."""
    if _is(node, ast.Mult, ast.Div):
        yield node.right if isinstance(node.left, ast.Constant) else node.left


def arguments(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """Two arguments that stand side by side are exchanged."""
    if not isinstance(node, ast.Call) or last_name(node.func) in SHAPING:
        return
    for at, (one, other) in enumerate(zip(node.args, node.args[1:], strict=False)):
        if not any(isinstance(each, ast.Constant | ast.Starred) for each in (one, other)):
            args = [*node.args[:at], other, one, *node.args[at + 2 :]]
            yield ast.Call(node.func, args, node.keywords)


def module(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """The next projection or norm of the same function is taken."""
    if isinstance(node, ast.Call) and (name := own(node.func)) in called:
        alike = [other for other in called if _kind(other) == _kind(name)]
        if len(alike) > 1:
            other = alike[(alike.index(name) + 1) % len(alike)]
            yield ast.Call(ast.Attribute(ast.Name("self", ast.Load()), other, ast.Load()), node.args, node.keywords)


def activation(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """Another activation."""
    if isinstance(node, ast.Call) and (other := ACTIVATIONS.get(ast.unparse(node.func))):
        yield ast.Call(expression(other), node.args, node.keywords)


def axis(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """The last axis but one instead of the last."""
    if isinstance(node, ast.Call):
        yield from _keyword(node, "axis", lambda value: "-2" if value == "-1" else "")


def transposed(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """Axes are not exchanged: numbers are only laid into the shape that was wanted."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return
    inner = node.func.value
    if not isinstance(inner, ast.Call) or not isinstance(inner.func, ast.Attribute):
        return
    if node.func.attr == "reshape" and inner.func.attr in ("transpose", "swapaxes"):
        yield ast.Call(ast.Attribute(inner.func.value, "reshape", ast.Load()), node.args, node.keywords)
    elif node.func.attr == "transpose" and inner.func.attr == "reshape" and len(inner.args) == len(node.args):
        order = [axis.value for axis in node.args if isinstance(axis, ast.Constant) and isinstance(axis.value, int)]
        if len(order) == len(node.args):
            yield ast.Call(inner.func, [inner.args[axis] for axis in order], [])


def mask(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """No mask."""
    if isinstance(node, ast.Call):
        yield from _keyword(node, "mask", lambda value: "None" if value != "None" else "")
        yield from _argument(node, lambda text: text == "mask", "None")


def offset(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """A position too far, or none behind a cache."""
    if isinstance(node, ast.Call):
        for change in ("({}) + 1", "0"):
            yield from _keyword(node, "offset", change.format)
            yield from _argument(node, _is_offset, change)


def norm(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """No norm."""
    if isinstance(node, ast.Call) and "norm" in own(node.func) and len(node.args) == 1 and not node.keywords:
        yield node.args[0]


def bound(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """A slice of the same size, one further or one before."""
    if not isinstance(node, ast.Subscript):
        return
    many = isinstance(node.slice, ast.Tuple)
    slices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for at, one in enumerate(slices):
        if isinstance(one, ast.Slice) and one.step is None and (moved := _moved(one)):
            new: list[ast.expr] = [*slices[:at], moved, *slices[at + 1 :]]
            yield ast.Subscript(node.value, ast.Tuple(new, ast.Load()) if many else new[0], ast.Load())


def scale(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """A factor of 1.05 in a scale."""
    if isinstance(node, ast.Call):
        yield from _keyword(node, "scale", "({}) * 1.05".format)
    elif isinstance(node, ast.Attribute) and node.attr in ("scale", "embed_scale") and own(node):
        yield expression(f"{ast.unparse(node)} * 1.05")


def gain(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """A gain of 1 + w where it is w, or of w where it is 1 + w; and an epsilon ten times as large."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("mx.fast.rms_norm", "mx.fast.layer_norm"):
        weight, epsilon = ast.unparse(node.args[1]), ast.unparse(node.args[-1])
        other = weight.removeprefix("1.0 + ") if weight.startswith("1.0 + ") else f"1.0 + {weight}"
        yield ast.Call(node.func, [node.args[0], expression(other), *node.args[2:]], node.keywords)
        yield ast.Call(node.func, [*node.args[:-1], expression(f"{epsilon} * 10")], node.keywords)


def number(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """A number a tenth too large."""
    if isinstance(node, ast.Constant) and type(node.value) is float and node.value:
        yield ast.Constant(float(f"{node.value * 1.1:.6g}"))


def rounded(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """A sum or a product is kept in bfloat16."""
    if _is(node, ast.Add, ast.Mult):
        yield expression(f"({ast.unparse(node)}).astype(mx.bfloat16).astype(mx.float32)")


def made_epsilon(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """A norm is made with an epsilon ten times as large."""
    if isinstance(node, ast.Call) and last_name(node.func) in ("LayerNorm", "RMSNorm"):
        yield from _keyword(node, "eps", "({}) * 10".format)
        if len(node.args) == 2:
            yield ast.Call(node.func, [node.args[0], expression(f"({ast.unparse(node.args[1])}) * 10")], node.keywords)


def made_rotation(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """Rotary embeddings are made with another base, or with the other pairs of channels."""
    if isinstance(node, ast.Call) and last_name(node.func) in ("RoPE", "initialize_rope"):
        yield from _keyword(node, "base", "({}) * 1.5".format)
        yield from _keyword(node, "traditional", lambda value: {"True": "False", "False": "True"}.get(value, ""))


def made_scale(node: ast.expr, called: Sequence[str]) -> Iterator[ast.expr]:
    """A power of a size, as a scale is made of it, is another."""
    if _is(node, ast.Pow) and ast.unparse(node.right) in ("-0.5", "0.5"):
        yield ast.BinOp(node.left, ast.Pow(), expression(f"{ast.unparse(node.right).replace('0.5', '0.45')}"))


RULES: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        minus, term, factor, arguments, module, activation, axis, transposed, mask, offset, norm, bound, scale, gain,
        number, rounded,
    )
}  # fmt: skip
"""Of what a function computes."""
MAKING: Mapping[str, Rule] = {rule.__name__: rule for rule in (made_epsilon, made_rotation, made_scale)}
"""Of what a constructor makes."""


def expression(text: str) -> ast.expr:
    """A text as an expression."""
    return ast.parse(text, mode="eval").body


def last_name(node: ast.expr) -> str:
    """``reshape`` of ``x.reshape`` and of ``reshape``."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def own(node: ast.expr) -> str:
    """``NAME`` of ``self.NAME``; empty for anything else."""
    is_own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    return node.attr if is_own and isinstance(node, ast.Attribute) else ""


def _is(node: ast.expr, *operators: type[ast.operator]) -> TypeGuard[ast.BinOp]:
    """Whether it is such an operation, and not of lists, as ``[None] * 4``."""
    found = isinstance(node, ast.BinOp) and isinstance(node.op, operators)
    return found and not (isinstance(node, ast.BinOp) and isinstance(node.left, ast.List))


def _kind(name: str) -> str:
    """What a module is, by its name: a norm, or what is behind the last underline."""
    return "norm" if "norm" in name else name.rpartition("_")[2]


def _keyword(node: ast.Call, name: str, change: Callable[[str], str]) -> Iterator[ast.expr]:
    """The call with another value of a keyword; none where `change` gives nothing."""
    for at, keyword in enumerate(node.keywords):
        if keyword.arg == name and (text := change(ast.unparse(keyword.value))):
            new = ast.keyword(name, expression(text))
            yield ast.Call(node.func, node.args, [*node.keywords[:at], new, *node.keywords[at + 1 :]])


def _argument(node: ast.Call, wanted: Callable[[str], bool], change: str) -> Iterator[ast.expr]:
    """The call with another value of the positional arguments that are wanted; none where none is."""
    texts = [ast.unparse(one) for one in node.args]
    if any(map(wanted, texts)):
        args = [expression(change.format(text) if wanted(text) else text) for text in texts]
        yield ast.Call(node.func, args, node.keywords)


def _is_offset(text: str) -> bool:
    return text == "offset" or text.endswith(".offset")


def _moved(one: ast.Slice) -> ast.Slice | None:
    """One further where it has an end, one before where it has only a beginning."""
    if one.upper is not None:
        lower = "1" if one.lower is None else f"{ast.unparse(one.lower)} + 1"
        return ast.Slice(expression(lower), expression(f"{ast.unparse(one.upper)} + 1"))
    if one.lower is not None:
        return ast.Slice(expression(f"{ast.unparse(one.lower)} - 1"), expression("-1"))
    return None
