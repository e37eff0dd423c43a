"""Operations that move numbers, and change none: what they give needs no rounding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from implementations.coreml.interpreter.inputs import Given

Index = tuple[int | slice, ...]


def expand_dims(given: Given) -> Tensor:
    """New axes of length 1, counted in what is given back."""
    x, axes = given.tensor(), given.numbers("axes")
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(given: Given) -> Tensor:
    """Without axes of length 1: those that are named, or all."""
    x = given.tensor()
    axes = given.numbers("axes", [axis for axis in range(x.dim()) if x.shape[axis] == 1])
    return x.squeeze(tuple(axes)) if axes else x


def concat(given: Given) -> Tensor:
    """One behind the other along an axis."""
    if given.number("interleave", False):
        raise ValueError("concat of alternating parts")
    return torch.cat(list(given.values["values"]), int(given.number("axis")))


def split(given: Given) -> tuple[Tensor, ...]:
    """Parts along an axis, of given sizes or of one."""
    x, axis = given.tensor(), int(given.number("axis"))
    if "split_sizes" in given.values:
        return torch.split(x, given.numbers("split_sizes"), axis)
    count = int(given.number("num_splits"))
    if x.shape[axis] % count:
        raise ValueError(f"a split of {x.shape[axis]} in {count} equal parts")
    return torch.chunk(x, count, axis)


def _index(given: Given, rank: int) -> Index:
    """Which part a slice takes. Where a mask is set, an end is open, or the axis goes; no stride is negative here."""
    begin, end, stride = given.numbers("begin"), given.numbers("end"), given.numbers("stride", [1] * rank)
    opens, closes, goes = (given.numbers(f"{which}_mask", [0] * rank) for which in ("begin", "end", "squeeze"))
    if min(stride) < 1:
        raise ValueError("a slice that runs backwards")
    return tuple(
        begin[axis] if goes[axis] else slice(*_ends(begin[axis], end[axis], opens[axis], closes[axis]), stride[axis])
        for axis in range(rank)
    )


def _ends(begin: int, end: int, opens: int, closes: int) -> tuple[int | None, int | None]:
    return None if opens else begin, None if closes else end


def slice_by_index(given: Given) -> Tensor:
    """A part of a tensor."""
    x = given.tensor()
    return x[_index(given, x.dim())]


def slice_update(given: Given) -> Tensor:
    """A tensor with a part of it replaced."""
    x = given.tensor().clone()
    x[_index(given, x.dim())] = given.tensor("update")
    return x


def gather(given: Given) -> Tensor:
    """The parts of an axis that indices name, in their shape; a negative index counts from the end."""
    if given.number("batch_dims", 0):
        raise ValueError("a gather with indices for each row of a batch")
    x, indices = given.tensor(), given.tensor("indices").long()
    axis = int(given.number("axis", 0)) % x.dim()
    length = x.shape[axis]
    found = x.index_select(axis, torch.where(indices < 0, indices + length, indices).reshape(-1))
    return found.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def pad(given: Given) -> Tensor:
    """With a constant around the last axes, of which `pad` has before and behind, the first axis first."""
    if (mode := given.text("mode", "constant")) != "constant":
        raise ValueError(f"pad in mode {mode}")
    sides = given.numbers("pad")
    pairs = [sides[axis : axis + 2] for axis in range(0, len(sides), 2)]
    turned = [side for pair in reversed(pairs) for side in pair]  # torch counts from the last axis
    return functional.pad(given.tensor(), turned, value=float(given.number("constant_val", 0.0)))


def upsample(given: Given) -> Tensor:
    """Rows and columns doubled, or more."""
    scales = [float(given.number(f"scale_factor_{axis}", 1.0)) for axis in ("height", "width")]
    if any(scale != int(scale) for scale in scales):
        raise ValueError(f"an upsampling by {scales}")
    return given.tensor().repeat_interleave(int(scales[0]), dim=-2).repeat_interleave(int(scales[1]), dim=-1)


OPERATIONS: dict[str, Callable[[Given], Tensor | tuple[Tensor, ...]]] = {
    "concat": concat,
    "expand_dims": expand_dims,
    "gather": gather,
    "identity": Given.tensor,
    "pad": pad,
    "reshape": lambda given: given.tensor().reshape(given.numbers("shape")),
    "slice_by_index": slice_by_index,
    "slice_update": slice_update,
    "split": split,
    "squeeze": squeeze,
    "tile": lambda given: given.tensor().repeat(given.numbers("reps")),
    "transpose": lambda given: given.tensor().permute(given.numbers("perm")),
    "upsample_nearest_neighbor": upsample,
}
