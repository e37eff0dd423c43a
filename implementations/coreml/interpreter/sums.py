"""Operations that add numbers up: products, norms, means."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from implementations.coreml.interpreter.inputs import Given


def conv(given: Given) -> Tensor:
    """A convolution over the last axis or two, ``[batch, channel, height, width]`` without or with a height.

    Of one row, with channels last in memory, torch adds up the products of a few tokens as `engine.layers` has it.
    """
    x, weight, bias = given.tensor(), given.tensor("weight"), given.optional("bias")
    axes = weight.dim() - 2
    strides, dilations = given.numbers("strides", [1] * axes), given.numbers("dilations", [1] * axes)
    (top, bottom), (left, right) = [(0, 0)] * (2 - axes) + _padding(given, axes)
    if axes == 1:  # the height is 1
        x, weight, strides, dilations = x.unsqueeze(2), weight.unsqueeze(2), [1, *strides], [1, *dilations]
    padding = (top, left)
    if padding != (bottom, right):
        x, padding = functional.pad(x, (left, right, top, bottom)), (0, 0)
    if x.shape[2] == 1:
        x = x.contiguous(memory_format=torch.channels_last)
    found = functional.conv2d(x, weight, bias, strides, padding, dilations, int(given.number("groups", 1))).contiguous()
    return found.squeeze(2) if axes == 1 else found


def _padding(given: Given, axes: int) -> list[tuple[int, int]]:
    """Of each axis, before and behind."""
    kind = given.text("pad_type", "valid")
    if kind not in ("valid", "custom") or axes not in (1, 2):
        raise ValueError(f"a convolution with padding {kind} of a weight {[*given.tensor('weight').shape]}")
    sides = given.numbers("pad", [0] * 2 * axes) if kind == "custom" else [0] * 2 * axes
    return [(sides[2 * axis], sides[2 * axis + 1]) for axis in range(axes)]


def matmul(given: Given) -> Tensor:
    """A product of matrices, the last two axes, each of which may be transposed before."""
    x, y = given.tensor("x"), given.tensor("y")
    x = x.transpose(-1, -2) if given.number("transpose_x", False) else x
    return x @ (y.transpose(-1, -2) if given.number("transpose_y", False) else y)


def linear(given: Given) -> Tensor:
    """A product of the last axis with the transposed weight ``[out, in]``, and a bias."""
    return functional.linear(given.tensor(), given.tensor("weight"), given.optional("bias"))


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
    "linear": linear,
    "matmul": matmul,
    "reduce_max": _reduced(torch.amax),
    "reduce_mean": _reduced(torch.mean),
    "reduce_sum": _reduced(torch.sum),
    "softmax": lambda given: torch.softmax(given.tensor(), int(given.number("axis", -1))),
}
