"""Operations on each number by itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from implementations.coreml.interpreter.inputs import Given

GELU = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}
CAST = {"fp32": torch.float32, "fp16": torch.float32, "int32": torch.int32, "int16": torch.int32, "bool": torch.bool}
"""What values of a number format are held as; those of float16 are rounded behind each operation."""
UNSIGNED = {"uint8": 1 << 8, "uint16": 1 << 16}
"""How many numbers formats without a sign have; they are held as int32, for torch indexes with no other."""


def _of_one(function: Callable[[Tensor], Tensor]) -> Callable[[Given], Tensor]:
    return lambda given: function(given.tensor())


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Given], Tensor]:
    return lambda given: function(given.tensor("x"), given.tensor("y"))


def gelu(given: Given) -> Tensor:
    """``x * P(X <= x)``, exactly or by a hyperbolic tangent."""
    mode = given.text("mode", "EXACT")
    if mode not in GELU:
        raise ValueError(f"gelu in mode {mode}")
    return functional.gelu(given.tensor(), approximate=GELU[mode])


def clip(given: Given) -> Tensor:
    """Within `alpha` and `beta`."""
    return given.tensor().clamp(given.number("alpha"), given.number("beta"))


def cast(given: Given) -> Tensor:
    """In another number format."""
    name = given.text("dtype")
    if name in UNSIGNED:
        return given.tensor().to(torch.int32).remainder(UNSIGNED[name])
    if name not in CAST:
        raise ValueError(f"a cast to {name}")
    return given.tensor().to(CAST[name])


def select(given: Given) -> Tensor:
    """`a` where the condition is true, else `b`."""
    return torch.where(given.tensor("cond"), given.tensor("a"), given.tensor("b"))


OPERATIONS: dict[str, Callable[[Given], Tensor]] = {
    "abs": _of_one(torch.abs),
    "add": _of_two(torch.add),
    "cast": cast,
    "clip": clip,
    "cos": _of_one(torch.cos),
    "equal": _of_two(torch.eq),
    "exp": _of_one(torch.exp),
    "gelu": gelu,
    "greater": _of_two(torch.gt),
    "greater_equal": _of_two(torch.ge),
    "less": _of_two(torch.lt),
    "less_equal": _of_two(torch.le),
    "logical_and": _of_two(torch.logical_and),
    "logical_not": _of_one(torch.logical_not),
    "logical_or": _of_two(torch.logical_or),
    "maximum": _of_two(torch.maximum),
    "minimum": _of_two(torch.minimum),
    "mul": _of_two(torch.mul),
    "not_equal": _of_two(torch.ne),
    "pow": _of_two(torch.pow),
    "real_div": _of_two(torch.div),
    "relu": _of_one(torch.relu),
    "rsqrt": lambda given: torch.rsqrt(given.tensor() + given.number("epsilon", 1e-12)),
    "select": select,
    "sigmoid": _of_one(torch.sigmoid),
    "silu": _of_one(functional.silu),
    "sin": _of_one(torch.sin),
    "sqrt": _of_one(torch.sqrt),
    "square": _of_one(torch.square),
    "sub": _of_two(torch.sub),
    "tanh": _of_one(torch.tanh),
}
