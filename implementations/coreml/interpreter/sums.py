"""Operations that add numbers up: products, norms, means."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from implementations.coreml.interpreter.inputs import Given


def conv(given: Given) -> Tensor:
    """A convolution over the last two axes, ``[batch, channel, height, width]``.

    Of one row, with channels last in memory, torch adds up the products of a few tokens as `engine.layers` has it.
    """
    x, weight, bias = given.tensor(), given.tensor("weight"), given.optional("bias")
    before, behind = _padding(given)
    if before == behind:
        padding = before
    else:
        x, padding = functional.pad(x, (before[1], behind[1], before[0], behind[0])), (0, 0)
    if x.shape[2] == 1:
        x = x.contiguous(memory_format=torch.channels_last)
    strides, dilations = given.numbers("strides", [1, 1]), given.numbers("dilations", [1, 1])
    return functional.conv2d(x, weight, bias, strides, padding, dilations, int(given.number("groups", 1))).contiguous()


def _padding(given: Given) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns before and behind."""
    kind = given.text("pad_type", "valid")
    if kind not in ("valid", "custom") or len(given.tensor("weight").shape) != 4:
        raise ValueError(f"a convolution with padding {kind} of a weight {[*given.tensor('weight').shape]}")
    top, bottom, left, right = given.numbers("pad", [0] * 4) if kind == "custom" else [0] * 4
    return (top, left), (bottom, right)


def matmul(given: Given) -> Tensor:
    """A product of matrices, the last two axes, each of which may be transposed before."""
    x, y = given.tensor("x"), given.tensor("y")
    x = x.transpose(-1, -2) if given.number("transpose_x", False) else x
    return x @ (y.transpose(-1, -2) if given.number("transpose_y", False) else y)


def layer_norm(given: Given) -> Tensor:
    """Mean 0 and deviation 1 over the last axes."""
    x, axes = given.tensor(), given.numbers("axes")
    if sorted(axis % x.dim() for axis in axes) != [*range(x.dim() - len(axes), x.dim())]:
        raise ValueError(f"layer_norm over the axes {axes} of {x.dim()}")
    shape = x.shape[-len(axes) :]
    epsilon = float(given.number("epsilon", 1e-5))
    return functional.layer_norm(x, shape, given.optional("gamma"), given.optional("beta"), epsilon)


def _reduced(function: Callable[..., Tensor]) -> Callable[[Given], Tensor]:
    def reduce(given: Given) -> Tensor:
        x = given.tensor()
        axes = given.numbers("axes", [*range(x.dim())])
        return function(x, axes, keepdim=bool(given.number("keep_dims", False)))

    return reduce


def avg_pool(given: Given) -> Tensor:
    """Means of tiles, without padding."""
    if (kind := given.text("pad_type")) not in ("valid", "custom") or any(given.numbers("pad", [0])):
        raise ValueError(f"avg_pool with padding {kind}")
    sizes = given.numbers("kernel_sizes")
    return functional.avg_pool2d(given.tensor(), sizes, given.numbers("strides", [1] * len(sizes)))


OPERATIONS: dict[str, Callable[[Given], Tensor]] = {
    "avg_pool": avg_pool,
    "conv": conv,
    "layer_norm": layer_norm,
    "matmul": matmul,
    "reduce_max": _reduced(torch.amax),
    "reduce_mean": _reduced(torch.mean),
    "reduce_sum": _reduced(torch.sum),
    "softmax": lambda given: torch.softmax(given.tensor(), int(given.number("axis", -1))),
}
