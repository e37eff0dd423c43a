"""Legitimate executions of one arithmetic: the same operations, their sums in another order, or rounded by chance.

What correct arithmetic costs at a step is a distribution, of which a run shows one draw: another processor, BLAS or
number of threads shows another. So the baseline runs several times, each time as a machine might that we do not have.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from parity.arithmetic import Arithmetic
from parity.errors import UsageError
from parity.traces.measured import PLAIN
from reference.common.device import CPU, LACKING

BLOCKED, STOCHASTIC = "blocked", "stochastic"
SPREAD = math.sqrt(2)
"""Rounded up or down by chance, a result errs with twice the variance of rounding to nearest."""
SEED = 0
BLOCK = 32
"""Terms that a blocked product adds at a time, as kernels do that keep a tile of the sums in registers."""

CACHED = 2**17
"""Sums that are added to together: with their products, a megabyte."""

aten = torch.ops.aten


class Executions:
    """The executions of an arithmetic besides the usual one.

    Attributes:
        excess: names of those that are as right as the usual one, and how many times larger their errors are.
    """

    def __init__(self, arithmetic: Arithmetic, device: str = CPU) -> None:
        self._arithmetic = arithmetic
        exact = _EXACT.get(arithmetic.storage, "") not in LACKING.get(device, ())  # what is rounded by chance is wider
        chances = {STOCHASTIC: SPREAD} if exact and arithmetic.by_chance(0) is not None else {}
        # 16-bit kernels keep sums in float32, whose order is far below the one rounding at the end
        self.excess = {BLOCKED: 1.0, **chances} if arithmetic.storage == arithmetic.weights == "float32" else chances

    def running(self, name: str) -> AbstractContextManager[Any]:
        """Inside it, torch runs as that execution.

        Raises:
            UsageError: for an unknown one.
        """
        if name and name not in (*self.excess, PLAIN):
            raise UsageError(f"no execution {name!r} of this arithmetic; there are {', '.join((*self.excess, PLAIN))}")
        return _in_parts(self._mode(name)) if name else nullcontext()

    def _mode(self, name: str) -> AbstractContextManager[Any]:
        chance = self._arithmetic.by_chance(SEED) if name == STOCHASTIC else None
        return chance or Ordered(1 if name == PLAIN else BLOCK)


@contextmanager
def _in_parts(mode: AbstractContextManager[Any]) -> Iterator[None]:
    """Attention in parts, for what a fused kernel adds up inside is out of reach."""
    with sdpa_kernel(SDPBackend.MATH), mode:
        yield


class Ordered(TorchDispatchMode):
    """Sums of `block` terms at a time, block after block; of single terms, one after the other.

    Sums of 16-bit numbers are kept in float32, as every kernel does, and rounded once.
    """

    def __init__(self, block: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._block = block

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func not in _ORDERED or not args[0].is_floating_point():
            return func(*args, **(kwargs or {}))
        asked = (kwargs or {}).get("dtype") or args[0].dtype
        wide = [_wide(value) for value in args]
        named = {name: value for name, value in (kwargs or {}).items() if name != "dtype"}
        return _ORDERED[func](self._block, *wide, **named).to(asked)


def _wide(value: Any) -> Any:
    """A 16-bit tensor in float32; anything else as it is."""
    is_narrow = isinstance(value, torch.Tensor) and value.is_floating_point() and value.element_size() < 4
    return value.float() if is_narrow else value


def _product(block: int, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """``[..., m, k] @ [..., k, n]``."""
    if block == 1:
        return _plain_product(one, other)
    parts = zip(one.split(block, -1), other.split(block, -2), strict=True)
    return functools.reduce(torch.add, (left @ right for left, right in parts))


def _plain_product(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The same, term by term: in tiles whose sums stay in the processor's cache while all terms are added to them.

    A picture's attention has 5 million sums, which would go through memory four times for each term.
    """
    batch = max(1, math.prod(torch.broadcast_shapes(one.shape[:-2], other.shape[:-2])))
    columns = max(1, min(other.shape[-1], -(-CACHED // batch)))
    rows = -(-CACHED // (batch * columns))
    return torch.cat(
        [torch.cat([_terms(part, tile) for part in one.split(rows, -2)], -2) for tile in other.split(columns, -1)],
        -1,
    )


def _terms(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    total = one[..., :1] * other[..., :1, :]
    for term in range(1, one.shape[-1]):
        total += one[..., term, None] * other[..., term, None, :]
    return total


def _added(block: int, bias: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return _product(block, one, other) + bias


def _sum(block: int, x: torch.Tensor, dims: Sequence[int] | None = None, keepdim: bool = False) -> torch.Tensor:
    """Sum over some axes, which are read as one."""
    axes = sorted(axis % x.dim() for axis in (dims or range(x.dim())))
    kept = [axis for axis in range(x.dim()) if axis not in axes]
    rows = x.permute(*kept, *axes).flatten(len(kept))
    total = functools.reduce(torch.add, (part.sum(-1) for part in rows.split(block, -1)))
    return total.reshape([1 if axis in axes else size for axis, size in enumerate(x.shape)]) if keepdim else total


def _mean(block: int, x: torch.Tensor, dims: Sequence[int] | None = None, keepdim: bool = False) -> torch.Tensor:
    total = _sum(block, x, dims, keepdim)
    return total / (x.numel() // total.numel())


def _std(
    block: int, x: torch.Tensor, dims: Sequence[int] | None = None, *, correction: float = 1, keepdim: bool = False
) -> torch.Tensor:
    squares = (x - _mean(block, x, dims, True)).square()
    total = _sum(block, squares, dims, keepdim)
    return (total / (x.numel() // total.numel() - correction)).sqrt()


def _softmax(block: int, x: torch.Tensor, dim: int, half_to_float: bool) -> torch.Tensor:
    powers = (x - x.amax(dim, keepdim=True)).exp()
    return powers / _sum(block, powers, [dim], True)


def _convolution(  # noqa: PLR0917 - the operation's own parameters
    block: int,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> torch.Tensor:
    """A convolution over one axis or two, as the product of its weight with the windows of `x`."""
    if weight.dim() == 3:  # over frames: rows of height one
        two = [[first, *more] for first, more in ((0, padding), (1, stride), (1, dilation))]
        return _convolution(
            block, x[:, :, None], weight[:, :, None], bias, two[1], two[0], two[2], transposed, output_padding, groups
        )[:, :, 0]
    windows = nn.functional.unfold(x, weight.shape[2:], tuple(dilation), tuple(padding), tuple(stride)).unflatten(
        1, (groups, -1)
    )
    rows = weight.reshape(groups, weight.shape[0] // groups, -1)
    sums = _product(block, rows, windows).flatten(1, 2)
    height = (x.shape[2] + 2 * padding[0] - dilation[0] * (weight.shape[2] - 1) - 1) // stride[0] + 1
    image = sums.unflatten(-1, (height, -1))
    return image if bias is None else image + bias[:, None, None]


_ORDERED: dict[Any, Callable[..., torch.Tensor]] = {
    aten.mm.default: _product,
    aten.bmm.default: _product,
    aten.addmm.default: _added,
    aten.sum.dim_IntList: _sum,
    aten.mean.dim: _mean,
    aten.std.correction: _std,
    aten._softmax.default: _softmax,
    aten.convolution.default: _convolution,
}


class Stochastic(TorchDispatchMode):
    """Rounds every inexact result up or down by chance, with probabilities that make it right on average.

    This is Monte Carlo arithmetic (Parker, 1997) in its random rounding: each operation computes in a wider format,
    so what is exact stays exact. A rounding's error has twice the variance of rounding to nearest.

    Args:
        seed: of the draws; the same run twice is the same to the bit.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seed = seed
        self._draws: dict[torch.device, torch.Generator] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _IN_PLACE:
            return args[0].copy_(self._computed(_IN_PLACE[func], args, kwargs or {}))
        return self._computed(func, args, kwargs or {})

    def _computed(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        dtype = _made(func, args, kwargs) if func in _INEXACT else None
        if dtype is None or dtype not in _WIDER:
            return func(*args, **kwargs)
        wider = _WIDER[dtype]
        exact = func(*(_cast(value, wider) for value in args), **{k: v for k, v in kwargs.items() if k != "dtype"})
        return round_by_chance(exact.to(wider), dtype, self._draw(exact.device))

    def _draw(self, device: torch.device) -> torch.Generator:
        """The random numbers of a device, which go on from operation to operation."""
        if device not in self._draws:
            self._draws[device] = torch.Generator(device).manual_seed(self._seed)
        return self._draws[device]


def _made(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.dtype | None:
    """The dtype of an operation's result; None where no operand is a floating-point tensor."""
    if kwargs.get("dtype") or (func is aten._softmax.default and args[2]):
        return kwargs.get("dtype", torch.float32)  # a softmax of 16 bits may be asked for in float32
    floats = [value for value in args if isinstance(value, torch.Tensor) and value.is_floating_point()]
    wide = [value.dtype for value in floats if value.dim()] or [value.dtype for value in floats]
    return functools.reduce(torch.promote_types, wide) if wide else None


def round_by_chance(exact: torch.Tensor, dtype: torch.dtype, draw: torch.Generator) -> torch.Tensor:
    """`exact` (any shape, of the wider format) rounded to one of its two neighbours, each the likelier the nearer.

    A random number is added to the bits that the narrow format lacks, and what is left of them is cut off. It carries
    into the last bit that is kept as often as they say; where they are zero, as in infinities, it never does.
    """
    whole, surplus = _SURPLUS[dtype]
    bits = exact.view(whole)
    chance = torch.empty_like(bits).random_(0, 2**surplus, generator=draw)
    return ((bits + chance) & -(2**surplus)).view(exact.dtype).to(dtype)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.to(dtype) if is_float else value


_EXACT = {"bfloat16": "float32", "float16": "float32", "float32": "float64"}
_WIDER = {getattr(torch, narrow): getattr(torch, wide) for narrow, wide in _EXACT.items()}
_SURPLUS = {torch.bfloat16: (torch.int32, 16), torch.float16: (torch.int32, 13), torch.float32: (torch.int64, 29)}
"""The wider format's bits as an integer, and how many of them the narrow one lacks (its subnormals aside)."""
_IN_PLACE = {
    aten.add_.Tensor: aten.add.Tensor,
    aten.sub_.Tensor: aten.sub.Tensor,
    aten.mul_.Tensor: aten.mul.Tensor,
    aten.div_.Tensor: aten.div.Tensor,
}
_INEXACT = frozenset(
    (
        aten._softmax.default, aten._to_copy.default, aten.add.Tensor, aten.addmm.default, aten.avg_pool2d.default,
        aten.bmm.default, aten.convolution.default, aten.cos.default, aten.cumsum.default, aten.div.Tensor,
        aten.erfinv.default, aten.exp.default, aten.gelu.default, aten.glu.default, aten.log.default, aten.mean.dim,
        aten.mm.default, aten.mul.Tensor, aten.pow.Tensor_Scalar, aten.rsqrt.default, aten.sigmoid.default,
        aten.silu.default, aten.sin.default, aten.softplus.default, aten.sqrt.default, aten.std.correction,
        aten.sub.Tensor, aten.sum.dim_IntList, aten.tanh.default,
    )
)  # fmt: skip
"""Operations whose exact result may lie between two numbers of the format; the others only choose or move values."""
