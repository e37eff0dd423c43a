"""Values of llama.cpp's nodes in the contract's axes, and back.

llama.cpp knows no rows: all real tokens stand one after the other, each with its row and position, and the cache has
slots for the keys of all of them. What the contract calls padding is not there; it reads as zeros, and as False.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.config import TextConfig
from implementations.gguf.graph import MASKS, Row, layer_of
from implementations.gguf.part import Indices, Part, Slots
from parity.errors import BackendUnavailable

ALIKE = "layer ple"
"""Axes of what is the same for all tokens of a part."""


class Layout:
    """Translates values of one part.

    Args:
        config: the language model's.
        part: what is computed.
        slots: of each kind of layers.
    """

    def __init__(self, config: TextConfig, part: Part, slots: Mapping[str, Slots]) -> None:
        self._config, self._part, self._slots = config, part, slots
        self._tokens = part.tokens[part.rows]
        self._real = self._tokens >= 0

    def read(self, row: Row, values: NDArray[Any]) -> NDArray[Any]:
        """A node's values in the contract's axes.

        Args:
            row: which step it is.
            values: as they lie in memory, the slowest axis first.

        Raises:
            BackendUnavailable: where they are not of the shape that the table says.
        """
        view = self._view(row, values)
        if "slot" in row.memory:
            return self._seen(row, view)
        if row.memory == ALIKE:
            return np.where(self._real[..., None, None], view, np.zeros((), view.dtype))
        before = _before_token(row)
        found = np.zeros((*view.shape[: len(before)], *self._real.shape, *view.shape[len(before) + 1 :]), view.dtype)
        found[(*before, self._real)] = view
        return found * self._root if row.length else found

    def write(self, row: Row, values: NDArray[Any], answer: NDArray[Any]) -> None:
        """Put an answer, in the contract's axes, into a node's values; what is padding has no place there."""
        view = self._view(row, values)
        if row.memory == "token slot":
            tokens, slots, real = self._queries_and_keys(row)
            view[tokens[real], slots[real]] = np.where(answer[real], 0, -np.inf)
        elif "slot" in row.memory:
            slots = self._of(row.step).seen(self._part)
            view[:, slots[slots >= 0]] = np.moveaxis(answer, 1, 0)[:, slots >= 0]
        elif row.memory == ALIKE:
            view[...] = answer[self._real][0]
        else:
            true = answer[(*_before_token(row), self._real)]
            view[...] = self._length(view, true) if row.length else true

    def place(self, axes: tuple[str, ...], step: str) -> dict[str, slice]:
        """Which part of the chunk's tensor a value is, along the axes of which it is not all."""
        part = self._part
        found = {"batch": part.rows, "token": slice(part.begin - part.chunk, part.end - part.chunk)}
        if "key" in axes:
            found["key"] = self._of(step).place(part)
        return found

    def lengths(self, axes: tuple[str, ...], step: str) -> dict[str, int]:
        """How many tokens the chunk has, and the keys that they see."""
        part = self._part
        found = {"token": part.last - part.chunk}
        if "key" in axes:
            found["key"] = self._of(step).keys(part)
        return found

    def note(self, kind: str, slots: Indices) -> None:
        """Remember where the keys of a kind of layers were put; `slots` are in the order of the tokens."""
        self._slots[kind].note(self._part, slots)

    def _length(self, own: NDArray[Any], root: NDArray[Any]) -> NDArray[Any]:
        """The vector's length of a root mean square; its own where it is that: there and back, it would be rounded."""
        return np.where(own * self._root == root, own, root / self._root)

    @property
    def _root(self) -> np.float32:
        """What a vector's length is multiplied by to be the root mean square of its values."""
        return np.float32(self._config.hidden_size**-0.5)

    def _of(self, step: str) -> Slots:
        """The slots that a step's layer reads."""
        kind = step.removeprefix(MASKS)
        return self._slots[kind if kind in self._slots else self._config.layer_types[layer_of(step)]]

    def _seen(self, row: Row, view: NDArray[Any]) -> NDArray[Any]:
        """A mask as booleans, or the keys that the queries see."""
        if row.memory == "token slot":
            tokens, slots, real = self._queries_and_keys(row)
            return real & (view[tokens, slots] == 0)
        slots = self._of(row.step).seen(self._part)
        found = np.moveaxis(view[:, slots], 1, 0)
        return np.where((slots >= 0)[:, None, :, None], found, np.zeros((), view.dtype))

    def _queries_and_keys(self, row: Row) -> tuple[Indices, Indices, NDArray[np.bool_]]:
        """Token, slot, and whether both are real, for each ``[row column key]``."""
        keys = self._of(row.step).seen(self._part)
        tokens, slots = np.broadcast_arrays(self._tokens[:, :, None], keys[:, None])
        return tokens, slots, (tokens >= 0) & (slots >= 0)

    def _view(self, row: Row, values: NDArray[Any]) -> NDArray[Any]:
        """The values by the row's axes, in the contract's order; what is written into it is in `values`."""
        sizes = [self._size(axis, row, values) for axis in row.memory.split()]
        if row.memory == "token slot":  # there may be rows of no token behind
            values = values.reshape(values.shape[-2:])[: sizes[0]]
        if values.size != np.prod(sizes):
            raise BackendUnavailable(
                f"llama.cpp's graph does not fit: {row.step} is expected as {row.memory}, {_times(sizes)}, "
                f"at node {row.node}, which is {_times(values.shape)}"
            )
        view = values.reshape(sizes).transpose(row.order)
        return view if row.index is None else view[row.index]

    def _size(self, axis: str, row: Row, values: NDArray[Any]) -> int:
        config, streams = self._config, self._config.altup_num_inputs
        if axis == "slot":
            return values.shape[1 + row.memory.split().index(axis)] if row.memory != "token slot" else values.shape[-1]
        if axis == "intermediate":
            return config.intermediate_size[layer_of(row.step)]
        sizes = {
            "token": int(self._real.sum()), "stream": streams, "stream_from": streams, "stream_to": streams,
            "other": streams - 1, "one": 1, "hidden": config.hidden_size, "head": config.num_attention_heads,
            "kv_head": config.num_key_value_heads, "head_dim": config.head_dim, "rank": config.laurel_rank,
            "ple": config.hidden_size_per_layer_input, "layer": config.num_hidden_layers,
            "vocabulary": config.vocab_size,
        }  # fmt: skip
        return sizes[axis]


def _before_token(row: Row) -> tuple[Any, ...]:
    """An index of all of each of the contract's axes before the tokens."""
    axes = row.memory.split()[0 if row.index is None else 1 :]
    return (slice(None),) * axes.index("token")


def _times(sizes: tuple[int, ...] | list[int]) -> str:
    return " x ".join(map(str, sizes))
