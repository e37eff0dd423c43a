"""Tensors of the model, ``batch, channel, 1, token``, in the contract's axes and back.

A compiled call covers a part of a chunk and is padded, and caches hold their keys in slots: what the contract sees is
the call's real tokens, and the real keys in position order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from implementations.ane.shapes import Part, Shapes
from implementations.gemma3n.config import TextConfig
from parity.arithmetic import Arithmetic
from parity.backend import Tensors
from parity.contract import Step
from parity.errors import UsageError

PLAIN = ("batch token", "batch token key", "frequency")
"""Made on the host, for a whole chunk, in the contract's axes."""
CHANNELS = ("hidden", "rank", "intermediate", "ple", "vocabulary", "stream", "one")
LAYOUTS = {
    **{f"batch token {channel}": f"batch {channel} token" for channel in CHANNELS},
    "batch token head head_dim": "batch head head_dim token",
    "batch token kv_head head_dim": "batch kv_head head_dim token",
    "batch token layer ple": "batch layer ple token",
    "batch token stream_from stream_to": "batch stream_to stream_from token",
    "stream batch token hidden": "batch stream hidden token",
    "batch kv_head key head_dim": "batch kv_head key head_dim",
}
"""For each of the contract's axes, the order of these axes in memory; axes of length 1 between them do not count."""
LAYER = re.compile(r"text\.layers\.(\d+)\.")

Carries = Callable[[str], bool]


class AneTensors(Tensors):
    """Translates, one conversation at a time.

    Args:
        config: the language model's.
        shapes: the compiled shapes.
        alpha: factor of the residual stream.
        carries_alpha: whether a step's values are multiplied by `alpha` in the model.
        arithmetic: rounds what enters the model.

    Attributes:
        rows: of the conversation.
        part: what the compiled call that is running covers; None on the host, which handles whole chunks.
    """

    def __init__(
        self, config: TextConfig, shapes: Shapes, *, alpha: float, carries_alpha: Carries, arithmetic: Arithmetic
    ) -> None:
        self.rows = 1
        self.part: Part | None = None
        self._config, self._shapes = config, shapes
        self._alpha, self._carries_alpha, self._arithmetic = alpha, carries_alpha, arithmetic

    def to_numpy(self, value: torch.Tensor, step: Step | None) -> NDArray[Any]:
        """Real tokens and keys of `value` in the contract's axes, without alpha."""
        array: NDArray[Any] = self._view(value, step).numpy()
        return array / np.float32(self._alpha) if self._scaled(step) else array

    def fits(self, value: torch.Tensor, shape: tuple[int, ...], step: Step | None) -> bool:
        """Compare in the contract's axes."""
        return tuple(self._view(value, step).shape) == shape

    def from_numpy(self, array: NDArray[Any], like: torch.Tensor, step: Step | None) -> torch.Tensor:
        """A copy of `like` whose real tokens and keys are those of `array`; padding and other slots stay."""
        scaled = array * self._alpha if self._scaled(step) else array
        source = torch.from_numpy(np.ascontiguousarray(scaled)).to(like.dtype)
        plain = step is None or " ".join(step.axes) in PLAIN
        # Angular frequencies stay with the host, and in its arithmetic.
        source = source if plain else self._arithmetic.rounded(source)
        copy = like.clone(memory_format=torch.contiguous_format)
        if step is not None and not plain and "key" in step.axes:
            copy[:, :, self._slots(step)] = source
        else:
            self._view(copy, step).copy_(source)
        return copy

    def place(self, step: Step | None, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
        """Which part of the chunk's tensor of `shape`, in the contract's axes, the running call's value covers."""
        if self.part is None or step is None:
            return None
        ranges = {"token": self.part.tokens}
        if "key" in step.axes:
            begin, end = self._keys(step, self.part)
            first = self._shapes.earliest(self._kind(step), self.part.chunk)
            ranges["key"] = slice(begin - first, end - first)
        return tuple(ranges.get(axis, slice(0, size)) for axis, size in zip(step.axes, shape, strict=True))

    def _view(self, value: torch.Tensor, step: Step | None) -> torch.Tensor:
        """The real tokens and keys of `value` in the axes of `step`; a view where `value` is contiguous."""
        axes = " ".join(step.axes) if step is not None else PLAIN[0]
        if axes in PLAIN:
            return value
        if step is None or axes not in LAYOUTS:
            raise UsageError(f"backend ane has no layout for the axes {axes!r}; add it to LAYOUTS")
        if "key" in step.axes:
            return value[:, :, self._slots(step)]
        memory = LAYOUTS[axes].split()
        sizes = [self._size(axis, value) for axis in memory]
        whole = value.reshape(sizes).permute([memory.index(axis) for axis in step.axes])
        return whole if self.part is None else whole.narrow(step.axes.index("token"), 0, self.part.count)

    def _size(self, axis: str, value: torch.Tensor) -> int:
        """Length of an axis in memory; -1 for the one that is left over."""
        streams = self._config.altup_num_inputs
        known = {
            "batch": self.rows,
            "token": value.shape[-1],
            "stream": streams,
            "stream_from": streams,
            "stream_to": streams,
            "layer": self._config.num_hidden_layers,
            "head_dim": self._config.head_dim,
        }
        return known.get(axis, -1)

    def _slots(self, step: Step) -> slice | list[int]:
        if self.part is None:
            raise UsageError(f"backend ane: {step.name} was emitted outside a compiled call")
        return self._shapes.places(self._kind(step), *self._keys(step, self.part))

    def _keys(self, step: Step, part: Part) -> tuple[int, int]:
        """Indices of the keys that the call's queries see."""
        return self._shapes.earliest(self._kind(step), part.begin), part.end

    def _kind(self, step: Step) -> str:
        found = LAYER.match(step.name)
        if found is None:
            raise UsageError(f"backend ane: {step.name} has keys but belongs to no layer")
        return self._config.layer_types[int(found[1])]

    def _scaled(self, step: Step | None) -> bool:
        return self._alpha != 1 and step is not None and self._carries_alpha(step.name)
