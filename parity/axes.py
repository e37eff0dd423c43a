"""What the axes of tensors are. The contract says it, this module reads it, and no other of the engine names an axis.

A *place* is where an error may sit alone: a token of a batch row, a frame of a clip, a pixel of an image. What stands
at a place are *parts* of the model that compute side by side (heads, streams), and the *channels* of each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property, lru_cache
from string import ascii_letters
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Where = tuple[tuple[str, int], ...]
"""Names of axes, and an index along each."""

Look = Literal["tensor", "place", "part", "channel"]
LOOKS: tuple[Look, ...] = get_args(Look)
"""What an error is taken of: of all together, or of the worst of what a tensor's axes tell apart."""


@dataclass(frozen=True)
class Axes:
    """What the axes of a model's tensors are, by name; those that are not named here are channels.

    The values given here are the names that everyone uses. They serve where a contract does not say what it means.

    Attributes:
        places: an index along these, all that a tensor has, is a place. ``one`` stands where a tensor has a single one.
        queries: of these, what looks along `keys`.
        keys: a place too, but only in tensors without a query: there it is what a query sees, and belongs to its place.
        parts: an index along these is a part of the model that computes beside others of its kind.
        rows: along these the rows of a batch lie.
        sequence: along these later phases go on where one ended; they are padded.
    """

    places: tuple[str, ...] = (
        "batch", "token", "clip", "sample", "frame", "image", "height", "width", "block", "query", "soft_token", "one",
    )  # fmt: skip
    queries: tuple[str, ...] = ("token", "query")
    keys: tuple[str, ...] = ("key", "distance")
    parts: tuple[str, ...] = ("head", "kv_head", "stream", "layer")
    rows: tuple[str, ...] = ("batch",)
    sequence: tuple[str, ...] = ("token", "key")

    def layout(self, names: Sequence[str], shape: Sequence[int]) -> Layout:
        """What the axes of one tensor are; if it has more or fewer than `names`, nothing is known of them."""
        return _layout(self, tuple(names), tuple(shape))

    def to_json(self) -> dict[str, list[str]]:
        """Plain data."""
        return {name: list(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Axes:
        """Read what `to_json` wrote; what is missing has its usual names.

        Raises:
            TypeError: for what is not a list of names, or has another name than the attributes.
        """
        if not all(isinstance(value, list) and all(isinstance(name, str) for name in value) for value in data.values()):
            raise TypeError("the names of axes are no lists of strings")
        return cls(**{role: tuple(value) for role, value in data.items()})


USUAL = Axes()


@dataclass(frozen=True)
class Layout:
    """The axes of one tensor: which of them, counted from 0, are what.

    Attributes:
        names: of all axes; empty where they are unknown.
        shape: of the tensor.
        places, parts, channels: each axis is one of them; none is, where they are unknown.
        rows: the axis of a batch's rows; None where there is none.
        sequence: the axes along which later phases go on.
        looked: the axes of keys that a query looks along, of which a cache may have dropped the first.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    places: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    rows: int | None = None
    sequence: tuple[int, ...] = ()
    looked: tuple[int, ...] = ()

    @cached_property
    def samples(self) -> int:
        """Places; elements where there are none, for nothing says that they hang together."""
        return self.groups(self.places) if self.places else math.prod(self.shape)

    @cached_property
    def width(self) -> int:
        """Elements of each sample; 1 where there are none at all."""
        return max(1, math.prod(self.shape) // max(1, self.samples))

    @property
    def units(self) -> tuple[int, ...]:
        """The axes of what stands at a place."""
        return (*self.parts, *self.channels)

    def kept(self, look: Look) -> tuple[int, ...]:
        """The axes that tell apart what is looked at."""
        return {"tensor": (), "place": self.places, "part": self.parts, "channel": self.units}[look]

    def groups(self, kept: tuple[int, ...]) -> int:
        """How many combinations of indices some axes have."""
        return math.prod(self.shape[axis] for axis in kept)

    def where(self, kept: tuple[int, ...], group: int) -> Where:
        """The combination of that number, in C order; an axis that never has a second index is not told."""
        found: list[tuple[str, int]] = []
        for axis in reversed(kept):
            group, index = divmod(group, self.shape[axis])
            found += [(self.names[axis], index)] if self.names[axis] != "one" else []
        return tuple(reversed(found))

    def energy(self, array: NDArray[np.float64], kept: tuple[int, ...]) -> NDArray[np.float64]:
        """Sums of squares over all axes but some, which stay in the order given."""
        if not kept:
            return np.asarray(np.vdot(array, array))  # twice as fast
        sums: NDArray[np.float64] = np.einsum(_squares(array.ndim, kept), array, array)
        return sums

    def matrix(self, array: NDArray[Any]) -> NDArray[Any]:
        """`array` as (places, all else); where there are no places, the last axis is all else."""
        if not self.names or not array.ndim:
            return array.reshape(1, -1)
        rows = self.places or tuple(range(array.ndim - 1))
        others = tuple(axis for axis in range(array.ndim) if axis not in rows)
        return array.transpose(*rows, *others).reshape(self.groups(rows), -1)


_SAID = {"batch": "row", "height": "row", "width": "column"}
"""What people call an axis that has a technical name."""


def said(where: Where) -> str:
    """A place in words, e.g. ``row 0, token 2``."""
    return ", ".join(f"{_SAID.get(axis, axis)} {index}" for axis, index in where)


@cache
def _squares(number: int, kept: tuple[int, ...]) -> str:
    """What `numpy.einsum` calls sums of squares over all of a number of axes but some."""
    each = ascii_letters[:number]
    return f"{each},{each}->{''.join(each[axis] for axis in kept)}"


@lru_cache(maxsize=1 << 12)  # asked of every step of every run, of some dozens of shapes
def _layout(axes: Axes, names: tuple[str, ...], shape: tuple[int, ...]) -> Layout:
    if len(names) != len(shape):
        return Layout((), shape)
    looks = any(name in axes.queries for name in names)
    places = [name in axes.places or (name in axes.keys and not looks) for name in names]
    parts = [name in axes.parts for name in names]
    rows = [at for at, name in enumerate(names) if name in axes.rows]
    return Layout(
        names,
        shape,
        places=tuple(at for at, is_place in enumerate(places) if is_place),
        parts=tuple(at for at, is_part in enumerate(parts) if is_part),
        channels=tuple(at for at in range(len(names)) if not places[at] and not parts[at]),
        rows=rows[0] if rows else None,
        sequence=tuple(at for at, name in enumerate(names) if name in axes.sequence),
        looked=tuple(at for at, name in enumerate(names) if looks and name in axes.keys and name in axes.sequence),
    )
