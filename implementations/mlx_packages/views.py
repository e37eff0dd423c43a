"""What a package's values are in the contract's form, and back.

A view is given the local variables that the site hands over. Going back it is given the value that it showed, so that
it can put the answer into what the package goes on with: a row into a stack, a mask into the order of a ring.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

Locals = Mapping[str, Any]


class View(ABC):
    """How a value is shown to a tap."""

    @abstractmethod
    def out(self, value: Any, used: Locals) -> Any:
        """The value in the contract's form."""

    @abstractmethod
    def back(self, answer: Any, value: Any, used: Locals) -> Any:
        """What takes the place of `value` where the tap gave another value than it was shown."""


class Plain(View):
    """The value is in the contract's form."""

    def out(self, value: mx.array, used: Locals) -> mx.array:
        """A handle of its own: the packages change some arrays in place, and MLX then changes what the handle means."""
        return mx.array(value)

    def back(self, answer: mx.array, value: mx.array, used: Locals) -> mx.array:
        """As it is."""
        return answer


class InPlace(Plain):
    """An argument that the caller goes on to use under its own name."""

    def back(self, answer: mx.array, value: mx.array, used: Locals) -> mx.array:
        """The caller's array, with the answer's values."""
        value[:] = answer
        return value


class Swapped(View):
    """``batch head token head_dim`` for ``batch token head head_dim``."""

    def out(self, value: mx.array, used: Locals) -> mx.array:
        """Tokens before heads."""
        return mx.swapaxes(value, 1, 2)

    def back(self, answer: mx.array, value: mx.array, used: Locals) -> mx.array:
        """Heads before tokens."""
        return mx.swapaxes(answer, 1, 2)


@dataclass(frozen=True)
class Row(View):
    """One of several steps that are computed as a stack."""

    index: int

    def out(self, value: mx.array, used: Locals) -> mx.array:
        """The row."""
        return value[self.index]

    def back(self, answer: mx.array, value: mx.array, used: Locals) -> mx.array:
        """The stack with that row replaced."""
        rows = [answer if row == self.index else value[row] for row in range(value.shape[0])]
        return mx.stack(rows)


class Keys(View):
    """Keys or values that attention sees; a sliding cache is a ring, whose slots are not in the order of positions."""

    def out(self, value: mx.array, used: Locals) -> mx.array:
        """In the order of positions. Behind the slot that was written last comes the oldest."""
        return mx.roll(value, -_slot(used["cache"]), 2)

    def back(self, answer: mx.array, value: mx.array, used: Locals) -> mx.array:
        """In the order of the ring."""
        return mx.roll(answer, _slot(used["cache"]), 2)


def _slot(cache: Any) -> int:
    """The slot behind the last that was written. Keys that are in order end there: to roll them so far does nothing.

    The packages' caches say it in no public attribute. `_idx` of a sliding one is that slot: in a ring of 4 behind 6
    tokens it is 2, the slots hold the positions 4, 5, 2, 3, and rolled by -2 they are 2, 3, 4, 5. A cache that grows
    has none, or, of several rows, one that is its length.
    """
    return getattr(cache, "_idx", 0)


class Positions(View):
    """One offset of all rows, or one a row, for the position of each token."""

    def out(self, value: Any, used: Locals) -> mx.array:
        """``[batch, token]``; negative where a row is padded."""
        rows, tokens = used["inputs"].shape
        first = mx.broadcast_to(mx.array(value, mx.int32).reshape(-1, 1), (rows, 1))
        return first + mx.arange(tokens)

    def back(self, answer: mx.array, value: Any, used: Locals) -> Any:
        """The offset that leads to those positions, in the form that it had."""
        first = answer[:, 0]
        return first.astype(value.dtype) if isinstance(value, mx.array) else int(np.array(first)[0])


@dataclass(frozen=True)
class Mask(View):
    """Nothing, ``"causal"``, or an array: which keys each token sees.

    Attributes:
        layer: the language model's attribute that says which cache the mask was made for.
        tokens: the local variable whose first axes are batch and token.
    """

    layer: str
    tokens: str = "inputs"

    def out(self, value: Any, used: Locals) -> mx.array:
        """``[batch, token, key]``, keys in the order of positions."""
        rows, tokens = used[self.tokens].shape[:2]
        cache = self._cache(used)
        if not isinstance(value, mx.array):
            past = _seen(cache)
            value = mx.arange(past, past + tokens)[:, None] >= mx.arange(past + tokens)[None]
        elif value.ndim == 4:
            value = mx.roll(value[:, 0], -_turn(cache, tokens), -1)
        return mx.broadcast_to(value, (rows, *value.shape[-2:]))

    def back(self, answer: mx.array, value: Any, used: Locals) -> Any:
        """The mask as it was where it says the same, for then the same kernel runs; else ``[batch, 1, token, key]``."""
        if mx.array_equal(answer, self.out(value, used)).item():
            return value
        turn = _turn(self._cache(used), used[self.tokens].shape[1])
        return mx.roll(answer, turn, -1)[:, None]

    def _cache(self, used: Locals) -> Any:
        return used["cache"][getattr(used["self"], self.layer)]


def _seen(cache: Any) -> int:
    """How many cached keys the next chunk sees, of a cache whose rows are not padded."""
    if cache is None:
        return 0
    length: int = cache.size()
    return min(length, cache.max_size - 1) if hasattr(cache, "max_size") else length


def _turn(cache: Any, tokens: int) -> int:
    """How far the mask of a single token is rolled where the ring is full: its key goes into the slot before that."""
    # The length of a sliding cache of several rows is `_offset`; its `offset` has a number for each row.
    size, length = getattr(cache, "max_size", 0), getattr(cache, "_offset", getattr(cache, "offset", 0))
    if tokens > 1 or not size or length < size:
        return 0
    # `make_mask` of either cache rolls by `_idx + 1`, and by 1 where the next key begins the ring anew.
    return int(cache._idx % size if cache._idx <= size else 0) + 1


PLAIN, IN_PLACE, SWAPPED, KEYS, POSITIONS = Plain(), InPlace(), Swapped(), Keys(), Positions()
