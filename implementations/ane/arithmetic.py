"""The Apple Neural Engine's fp16, emulated: each operation computes in float32 and its result is rounded to fp16.

Values are held in float32 tensors, for native fp16 on a CPU is unusable: a product of 2048 x 2048 matrices takes 146 s,
emulated 0.28 s. On fp16 operands float32 products are exact, and sums of them far closer than the final rounding.

One ATen operation is one operation of the engine: a matrix product, a convolution, layer normalisation, softmax, GELU,
a mean. What ATen composes of others is rounded at each of them; `linear` is whole, with its bias, as a convolution is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from implementations.ane.engine.limits import LIMIT
from implementations.ane.engine.rounding import dithered, round_half, round_number
from parity.arithmetic import Switched

# Tensors made of Python's or NumPy's numbers enter through this one; its schema calls the result a view.
_ENTRANCE = torch.ops.aten.lift_fresh.default


class Float16Ane(Switched):
    """The engine's arithmetic.

    Args:
        limit: results beyond it become infinite. None: the range above is unbounded, the precision the same. The
            baseline runs so: a floor says what correct arithmetic costs, and overflow is a fault, never a floor.
    """

    weights = "float16"
    storage = "float32"

    def __init__(self, limit: float | None = LIMIT) -> None:
        self.limit = limit
        self._draw: torch.Generator | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Every floating-point result is rounded, whatever dtype is asked for. Tensors from outside come rounded."""
        # attention's fused kernel would compute in float32 throughout: an island
        with self.being(True), sdpa_kernel(SDPBackend.MATH), _Whole(self), _Rounding(self):
            yield

    @contextmanager
    def by_chance(self, seed: int) -> Iterator[None]:
        """Results are rounded up or down by chance."""
        before, self._draw = self._draw, torch.Generator().manual_seed(seed)
        try:
            yield
        finally:
            self._draw = before

    def rounded(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` (any shape) rounded, in float32; integers and booleans as they are."""
        if not tensor.is_floating_point():
            return tensor
        return round_half(tensor if self._draw is None else dithered(tensor, self._draw), self.limit)

    def number(self, value: float) -> float:
        """A constant of the program, rounded; an exact one stays what it is, an integer an integer."""
        rounded = round_number(float(value), self.limit)
        return value if rounded == value else rounded


def baseline() -> Float16Ane:
    """The arithmetic of the reference: the engine's precision without its limit."""
    return Float16Ane(limit=None)


class _Whole(TorchFunctionMode):
    """Keeps `linear` one operation: ATen adds a bias apart where the input is not contiguous."""

    def __init__(self, arithmetic: Float16Ane) -> None:
        super().__init__()
        self._arithmetic = arithmetic

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not nn.functional.linear or not self._arithmetic.active:
            return func(*args, **(kwargs or {}))
        with self._arithmetic.suspended():
            result = func(*args, **(kwargs or {}))
        return self._arithmetic.rounded(result)


class _Rounding(TorchDispatchMode):
    """Rounds what each ATen operation makes or changes."""

    def __init__(self, arithmetic: Float16Ane) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._arithmetic = arithmetic

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if not self._arithmetic.active or _is_view(func):
            return func(*args, **kwargs)
        if _is_composite(func):  # reached in inference mode alone; elsewhere its parts arrive one by one
            with self:
                return func.decompose(*args, **kwargs)
        operands = self._operands(func, args, kwargs)
        result = func(*operands, **{name: _carried(name, value) for name, value in kwargs.items()})
        for changed in _changed(func, args, kwargs):
            changed.copy_(self._arithmetic.rounded(changed))
        return self._made(func, result)

    def _operands(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
        """The arguments, the named ones in place, with constants rounded where they meet a floating-point tensor."""
        if not any(isinstance(each, torch.Tensor) and each.is_floating_point() for each in args):
            return list(args)
        positional, named = _values(func)
        for name in named & kwargs.keys():
            kwargs[name] = self._constant(kwargs[name])
        return [self._constant(value) if place in positional else value for place, value in enumerate(args)]

    def _constant(self, value: Any) -> Any:
        """A Python number, or a tensor without axes, which may stem from one, rounded; anything else as it is."""
        if isinstance(value, torch.Tensor):
            return value if value.dim() else self._arithmetic.rounded(value)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return self._arithmetic.number(value) if is_number else value

    def _made(self, func: Any, result: Any) -> Any:
        """The result with its new tensors rounded; views of operands, and operands themselves, are passed on."""
        if func is _ENTRANCE:  # a constant without axes is rounded where it meets a tensor
            return self._rounded(result) if result.dim() else result
        returns = func._schema.returns
        if len(returns) == 1:
            return result if returns[0].alias_info else self._rounded(result)
        if not isinstance(result, tuple | list):
            return result
        return type(result)(
            each if kind.alias_info else self._rounded(each) for kind, each in zip(returns, result, strict=True)
        )

    def _rounded(self, made: Any) -> Any:
        if isinstance(made, tuple | list):
            return type(made)(map(self._rounded, made))
        return self._arithmetic.rounded(made) if isinstance(made, torch.Tensor) else made


def _carried(name: str, value: Any) -> Any:
    """A requested floating-point dtype as the one that carries values: asking for another makes no island."""
    is_float = name == "dtype" and isinstance(value, torch.dtype) and value.is_floating_point
    return torch.float32 if is_float else value


@functools.cache
def _is_composite(func: Any) -> bool:
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key)


@functools.cache
def _is_view(func: Any) -> bool:
    returns = func._schema.returns
    only_views = bool(returns) and all(each.alias_info and not each.alias_info.is_write for each in returns)
    return only_views and func is not _ENTRANCE


@functools.cache
def _values(func: Any) -> tuple[frozenset[int], frozenset[str]]:
    """Places and names of read arguments that are values; a `float` in a schema is an attribute, such as an epsilon."""
    kinds = ("Tensor", "number", "Optional[number]", "Optional[Tensor]")
    arguments = enumerate(func._schema.arguments)
    found = [(place, each.name) for place, each in arguments if str(each.type) in kinds and not each.alias_info]
    return frozenset(place for place, _ in found), frozenset(name for _, name in found)


def _changed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """Floating-point tensors that the operation wrote into."""
    if not func._schema.is_mutable:
        return
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            for each in value if isinstance(value, tuple | list) else [value]:
                if isinstance(each, torch.Tensor) and each.is_floating_point():
                    yield each
