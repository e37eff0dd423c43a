"""How a port's tensor becomes the reference's, as an einops pattern: ``batch token (head d) -> batch head token d``."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.errors import UsageError
from parity.learning.sizes import KEY, TOKEN

Groups = tuple[tuple[str, ...], ...]
"""The axes of one side: of each, the axes that it is split into; none stands for a size of 1."""

_GROUP = re.compile(r"\(([^()]*)\)|(\w+)")
_SIDE = re.compile(r"(\w+|\([\w ]*\))( (\w+|\([\w ]*\)))*")
SPREAD = 101
"""Rows of a tensor that tell how far apart its neighbours along an axis lie in the other."""


@dataclass(frozen=True)
class Rearrangement:
    """The port's axes and the reference's, of the same parts in another order and grouping."""

    candidate: Groups
    reference: Groups

    def __post_init__(self) -> None:
        one, other = (sorted(itertools.chain(*groups)) for groups in (self.candidate, self.reference))
        if one != other or len(set(one)) < len(one):
            raise UsageError(f"layout {str(self)!r}: both sides must have the same axes, each once")

    def __str__(self) -> str:
        one, other = _text(self.candidate), _text(self.reference)
        return one if one == other else f"{one} -> {other}"

    @classmethod
    def parse(cls, text: str) -> Rearrangement:
        """Read what `str` wrote.

        Raises:
            UsageError: for what is no pattern.
        """
        one, arrow, other = text.partition(" -> ")
        sides = (one, other if arrow else one)
        if not all(_SIDE.fullmatch(side) for side in sides):
            raise UsageError(f"layout {text!r} is no pattern such as 'batch token (head d) -> batch head token d'")
        return cls(*map(_groups, sides))

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the reference's axes; of one that is not split here but is made of several, all of them."""
        return tuple(".".join(group) or "one" for group in self.reference)

    def with_apart(self, names: Collection[str]) -> Rearrangement:
        """The same with a reference that has these axes apart, where it has several of them in one."""
        reference: list[tuple[str, ...]] = []
        for group in self.reference:
            reference += [(part,) for part in group] if len({*group} & {*names}) > 1 else [group]
        return Rearrangement(self.candidate, tuple(reference))

    def bound(self, shape: Sequence[int], sizes: Mapping[str, int]) -> Bound:
        """The layout of a port's tensor of that shape.

        Args:
            shape: of the port's tensor.
            sizes: of axes, by name; of each axis that is split, all parts but one must be known.

        Raises:
            UsageError: for a shape that the layout cannot be of.
        """
        if len(shape) != len(self.candidate):
            raise UsageError(f"a tensor of shape {tuple(shape)} has not the axes {_text(self.candidate)!r}")
        found: dict[str, int] = {}
        for group, size in zip(self.candidate, shape, strict=True):
            found |= _split(group, size, sizes)
        parts = list(itertools.chain(*self.candidate))
        order = tuple(parts.index(name) for name in itertools.chain(*self.reference))
        merged = tuple(math.prod(found[name] for name in group) for group in self.reference)
        return Bound(tuple(shape), tuple(found[name] for name in parts), order, merged)


@dataclass(frozen=True)
class Bound:
    """A layout with sizes: what to do to a tensor of NumPy, or of another framework with the same methods.

    Attributes:
        shape: the port's.
        parts: the sizes that its axes are split into.
        order: which of the parts stands at each place of the reference's.
        merged: the reference's shape.
    """

    shape: tuple[int, ...]
    parts: tuple[int, ...]
    order: tuple[int, ...]
    merged: tuple[int, ...]

    def out(self, value: Any) -> Any:
        """The port's tensor in the reference's axes."""
        return _in_order(value.reshape(self.parts), self.order).reshape(self.merged)

    def back(self, value: Any) -> Any:
        """The reference's tensor in the port's axes."""
        inverse = tuple(self.order.index(part) for part in range(len(self.order)))
        parts = [self.parts[part] for part in self.order]
        return _in_order(value.reshape(parts), inverse).reshape(self.shape)


def _in_order(value: Any, order: tuple[int, ...]) -> Any:
    """With its axes in that order; what only splits an axis needs no transposition."""
    if order == tuple(range(len(order))):
        return value
    return value.permute(order) if hasattr(value, "permute") else value.transpose(order)  # torch's swaps two axes


def _text(groups: Groups) -> str:
    return " ".join(group[0] if len(group) == 1 else f"({' '.join(group)})" for group in groups)


def _groups(side: str) -> Groups:
    return tuple(tuple((several or one).split()) for several, one in _GROUP.findall(side))


def _split(group: tuple[str, ...], size: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes of an axis's parts."""
    if len(group) == 1:
        return {group[0]: size}
    known = {name: sizes[name] for name in group if name in sizes}
    unknown, product = [name for name in group if name not in known], math.prod(known.values())
    if len(unknown) > 1 or (size % product if unknown else size != product):
        raise UsageError(f"an axis of {size} cannot be split into ({' '.join(group)}) with {known}")
    return {**known, **dict.fromkeys(unknown, size // product)}


def find_layout(
    *, oracle: NDArray[Any], candidate: NDArray[Any], within: float, name: Callable[[int], str]
) -> Rearrangement | None:
    """The layout in which a candidate's numbers are the oracle's; None where there is none.

    Args:
        oracle: a tensor of the reference.
        candidate: one of as many numbers.
        within: the relative error that is allowed.
        name: what an axis of that size is called.
    """
    parts = _parts_in_order(oracle, candidate, within) or _parts_by_place(oracle, candidate)
    if parts is None or (layout := arranged(parts, oracle.shape, candidate.shape, name)) is None:
        return None
    named, sizes = layout
    shown = named.bound(candidate.shape, sizes).out(candidate)
    return named if distance(oracle=oracle, candidate=shown) <= within else None


def distance(*, oracle: NDArray[Any], candidate: NDArray[Any]) -> float:
    """Relative L2 error; infinite where the candidate's numbers are not all finite."""
    true = oracle.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # a mask that is added is the least number that there is
        off, size = np.linalg.norm(candidate.astype(np.float64) - true), np.linalg.norm(true)
    return float(off / size) if size and np.isfinite(off) else float("inf" if off else 0)


Parts = list[tuple[int, int]]
"""Sizes of the parts of the reference's axes, outermost first, and how far apart neighbours are in the candidate."""


def _parts_in_order(oracle: NDArray[Any], candidate: NDArray[Any], within: float) -> Parts | None:
    """Where both have the same order."""
    if distance(oracle=oracle, candidate=candidate.reshape(oracle.shape)) > within:
        return None
    return [(size, stride) for size, stride in zip(oracle.shape, _strides(oracle.shape), strict=True) if size > 1]


def _parts_by_place(oracle: NDArray[Any], candidate: NDArray[Any]) -> Parts | None:
    """Where each of the oracle's numbers is in the candidate tells the distance of neighbours along each axis."""
    places = _places(oracle, candidate)
    found: Parts = []
    for axis, size in enumerate(oracle.shape):
        if size > 1:
            parts = _runs(_steps(places, axis))
            if parts is None:
                return None
            found += parts
    return found


def _places(oracle: NDArray[Any], candidate: NDArray[Any]) -> NDArray[np.int64]:
    """The place in the candidate of the number that is nearest to each of the oracle's."""
    flat = candidate.astype(np.float64).ravel()
    order = np.argsort(flat, kind="stable")
    at = np.clip(np.searchsorted(flat[order], oracle.astype(np.float64).ravel()), 1, flat.size - 1)
    wanted = oracle.astype(np.float64).ravel()
    is_left = wanted - flat[order[at - 1]] < flat[order[at]] - wanted
    nearest: NDArray[np.int64] = order[np.where(is_left, at - 1, at)].reshape(oracle.shape)
    return nearest


def _steps(places: NDArray[np.int64], axis: int) -> list[int]:
    """How far one goes in the candidate from each index of an axis to the next: what most rows say."""
    moves = np.moveaxis(np.diff(places, axis=axis), axis, 0).reshape(places.shape[axis] - 1, -1)
    moves = moves[:, np.linspace(0, moves.shape[1] - 1, min(SPREAD, moves.shape[1])).astype(int)]
    counted = (np.unique(row, return_counts=True) for row in moves)
    return [int(values[counts.argmax()]) for values, counts in counted]


def _runs(steps: list[int]) -> Parts | None:
    """The parts of an axis: its steps are equal within the inner part, and at its ends others."""
    if not steps:
        return []
    inner = next((at for at, step in enumerate(steps) if step != steps[0]), len(steps)) + 1
    if (len(steps) + 1) % inner:
        return None
    ends = [sum(steps[start : start + inner]) for start in range(0, len(steps) - inner + 1, inner)]
    outer = _runs(ends)
    return None if outer is None else [*outer, (inner, steps[0])]


def arranged(
    parts: Parts, reference: Sequence[int], candidate: Sequence[int], name: Callable[[int], str]
) -> tuple[Rearrangement, dict[str, int]] | None:
    """The parts of two shapes as a pattern, and their sizes; None where they do not fill the candidate once."""
    parts = _refined(parts, candidate)
    inside = sorted(parts, key=lambda part: -part[1])
    if [stride for _, stride in inside] != list(_strides([size for size, _ in inside])):
        return None
    names = distinct(name(size) for size, _ in parts)
    by_stride = {stride: called for (_, stride), called in zip(parts, names, strict=True)}
    there = [(size, by_stride[stride]) for size, stride in inside]
    here = [(size, called) for (size, _), called in zip(parts, names, strict=True)]
    one, other = _grouped(there, candidate), _grouped(here, reference)
    if one is None or other is None:
        return None
    return Rearrangement(one, other), {called: size for size, called in here}


def _refined(parts: Parts, candidate: Sequence[int]) -> Parts:
    """Split at the ends of the candidate's axes too: an inner stride beyond which another of its axes begins."""
    ends = set(_strides(candidate))
    found: Parts = []
    for size, stride in parts:
        cuts = sorted(end // stride for end in ends if stride > 0 and end % stride == 0 and 1 < end // stride < size)
        edges = [1, *(cut for cut in cuts if size % cut == 0), size]
        found += [(over // under, stride * under) for under, over in reversed(list(itertools.pairwise(edges)))]
    return found


def distinct(names: Iterable[str]) -> list[str]:
    """Names of axes, each once: a second token is what a first one sees, a third of one size has a number."""
    found: list[str] = []
    for called in names:
        numbered = (f"{called}_{number}" for number in itertools.count(2))
        every = itertools.chain([called], [KEY] if called == TOKEN else [], numbered)
        found.append(next(one for one in every if one not in found))
    return found


def _grouped(parts: Sequence[tuple[int, str]], shape: Sequence[int]) -> Groups | None:
    left, groups = list(parts), []
    for size in shape:
        group, product = [], 1
        while product < size and left:
            part, called = left.pop(0)
            group.append(called)
            product *= part
        if product != size:
            return None
        groups.append(tuple(group))
    return None if left else tuple(groups)


def _strides(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.prod(shape[at + 1 :]) for at in range(len(shape)))
