"""Tensors of the model, ``batch, channel, 1, token``, in the contract's axes and back.

A compiled call of the decoder covers a part of a chunk and is padded, and caches hold their keys in slots: what the
contract sees is the call's real tokens, and the real keys in position order. The towers run on whole media.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from implementations.ane.audio.local import Locality
from implementations.ane.shapes import Call, Shapes
from implementations.gemma3n.config import AudioConfig, TextConfig
from parity.arithmetic import Arithmetic
from parity.backend import Tensors
from parity.contract import Step
from parity.errors import UsageError

PLAIN = (
    "batch token",
    "batch token key",
    "clip channel frame mel",
    "clip frame",
    "clip frame mel",
    "frequency",
    "head_dim",
    "image channel height width",
)
"""In memory as in the contract: what the host makes for a whole chunk, maps, and vectors."""
CHANNELS = ("hidden", "rank", "intermediate", "ple", "vocabulary", "stream", "one")
FEATURES = ("hidden", "intermediate", "two_hidden", "feature")
LAYOUTS = {
    **{f"batch token {channel}": f"batch {channel} token" for channel in CHANNELS},
    "batch token head head_dim": "batch head head_dim token",
    "batch token kv_head head_dim": "batch kv_head head_dim token",
    "batch token layer ple": "batch layer ple token",
    "batch token stream_from stream_to": "batch stream_to stream_from token",
    "stream batch token hidden": "batch stream hidden token",
    "batch kv_head key head_dim": "batch kv_head key head_dim",
    "image token channel": "image channel token",
    "image token hidden": "image hidden token",
    **{f"clip frame {feature}": f"clip {feature} frame" for feature in FEATURES},
    "clip soft_token hidden": "clip hidden soft_token",
    "one one hidden": "one hidden one",
    "clip frame one one": "clip one frame one",
    "clip frame head head_dim": "clip head head_dim frame",
    "clip block query head head_dim": "clip head block query head_dim",
    "clip block key head head_dim": "clip head block head_dim key",
    "clip block query key": "clip one block query key",
    "clip head block query key": "clip head block query key",
    "clip head block query distance": "clip head block query distance",
    "one distance hidden": "one hidden one distance",
    "distance head head_dim": "one head head_dim one distance",
}
"""For each of the contract's axes, the order of these axes in memory. Axes of length 1 do not count, and axes that
stand side by side may be one there: ``head * block``."""
CACHE = ("batch", "kv_head", "key", "head_dim")
"""Axes of keys in slots."""
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
        audio: the audio tower's configuration; None where there is no sound.

    Attributes:
        rows: of the conversation.
        call: what the decoder's call that is running covers; None elsewhere, where chunks and media are whole.
        image: which of several pictures is looked at, where each is a call of its own; None where all are one.
    """

    def __init__(
        self,
        config: TextConfig,
        shapes: Shapes,
        *,
        alpha: float,
        carries_alpha: Carries,
        arithmetic: Arithmetic,
        audio: AudioConfig | None = None,
    ) -> None:
        self.rows = 1
        self.call: Call | None = None
        self.image: int | None = None
        self._config, self._shapes, self._audio = config, shapes, audio
        self._alpha, self._carries_alpha, self._arithmetic = alpha, carries_alpha, arithmetic

    def to_numpy(self, value: torch.Tensor, step: Step | None) -> NDArray[Any]:
        """Real tokens and keys of `value` in the contract's axes, without alpha; masks as booleans."""
        array: NDArray[Any] = self._view(value, step).numpy()
        if step is not None and step.kind == "mask":
            return array != 0
        return array / np.float32(self._alpha) if self._scaled(step) else array

    def fits(self, value: torch.Tensor, shape: tuple[int, ...], step: Step | None) -> bool:
        """Compare in the contract's axes."""
        return tuple(self._view(value, step).shape) == shape

    def from_numpy(self, array: NDArray[Any], like: torch.Tensor, step: Step | None) -> torch.Tensor:
        """A copy of `like` whose real tokens and keys are those of `array`; padding and other slots stay."""
        scaled = array * self._alpha if self._scaled(step) else array
        source = torch.from_numpy(np.ascontiguousarray(scaled)).to(like.dtype)
        # Angular frequencies stay with the host, and in its arithmetic.
        stays = step is None or step.axes == ("frequency",)
        source = source if stays else self._arithmetic.rounded(source)
        copy = like.clone(memory_format=torch.contiguous_format)
        if step is not None and step.axes == CACHE:
            copy[:, :, self._slots(step)] = source
        else:
            self._view(copy, step).copy_(source)
        return copy

    def place(self, step: Step | None, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
        """Which part of the chunk's tensor of `shape`, in the contract's axes, the running call's value covers."""
        if step is not None and self.image is not None and "image" in step.axes:
            at = slice(self.image, self.image + 1)
            return tuple(at if axis == "image" else slice(0, size) for axis, size in zip(step.axes, shape, strict=True))
        if self.call is None or step is None:
            return None
        ranges = {"token": self.call.tokens}
        if step.axes == CACHE:
            begin, end = self._keys(step, self.call)
            first = self._shapes.earliest(self._kind(step), self.call.chunk)
            ranges["key"] = slice(begin - first, end - first)
        return tuple(ranges.get(axis, slice(0, size)) for axis, size in zip(step.axes, shape, strict=True))

    def _view(self, value: torch.Tensor, step: Step | None) -> torch.Tensor:
        """The real tokens and keys of `value` in the axes of `step`; a view where `value` is contiguous."""
        axes = " ".join(step.axes) if step is not None else PLAIN[0]
        if axes in PLAIN:
            return value
        if step is None or axes not in LAYOUTS:
            raise UsageError(f"backend ane has no layout for the axes {axes!r}; add it to LAYOUTS")
        if step.axes == CACHE:
            return value[:, :, self._slots(step)]
        whole = self._reordered(value, LAYOUTS[axes].split(), step.axes)
        return whole if self.call is None else whole.narrow(step.axes.index("token"), 0, self.call.count)

    def _reordered(self, value: torch.Tensor, memory: Sequence[str], axes: Sequence[str]) -> torch.Tensor:
        """`value`, whose axes are `memory`, in the order of `axes`; those called ``one`` are put where they belong."""
        known = self._text_sizes(value) if "batch" in axes else self._media_sizes(value)
        counting = [axis for axis in memory if axis != "one"]
        view = value.reshape([known.get(axis, -1) for axis in counting])
        view = view.permute([counting.index(axis) for axis in axes if axis != "one"])
        for place in (place for place, axis in enumerate(axes) if axis == "one"):
            view = view.unsqueeze(place)
        return view

    def _text_sizes(self, value: torch.Tensor) -> dict[str, int]:
        """Lengths of axes in memory, all but one of any value."""
        streams = self._config.altup_num_inputs
        return {
            "batch": self.rows,
            "token": value.shape[-1],
            "stream": streams,
            "stream_from": streams,
            "stream_to": streams,
            "layer": self._config.num_hidden_layers,
            "head_dim": self._config.head_dim,
        }

    def _media_sizes(self, value: torch.Tensor) -> dict[str, int]:
        """The same of the towers' values: pictures and clips are first in memory, channels follow."""
        sizes = {"image": value.shape[0], "clip": value.shape[0]}
        sizes |= dict.fromkeys(("channel", *FEATURES), value.shape[1])
        if self._audio is None:  # pictures need no more
            return sizes
        locality = Locality.of(self._audio)
        heads = {"head": self._audio.conf_num_attention_heads, "head_dim": self._audio.head_dim}
        return sizes | heads | {"query": locality.block, "key": locality.context, "distance": locality.span}

    def _slots(self, step: Step) -> slice | list[int]:
        if self.call is None:
            raise UsageError(f"backend ane: {step.name} was emitted outside a compiled call")
        return self._shapes.places(self._kind(step), *self._keys(step, self.call))

    def _keys(self, step: Step, call: Call) -> tuple[int, int]:
        """Indices of the keys that the call's queries see."""
        return self._shapes.earliest(self._kind(step), call.begin), call.end

    def _kind(self, step: Step) -> str:
        found = LAYER.match(step.name)
        if found is None:
            raise UsageError(f"backend ane: {step.name} has keys but belongs to no layer")
        return self._config.layer_types[int(found[1])]

    def _scaled(self, step: Step | None) -> bool:
        return self._alpha != 1 and step is not None and self._carries_alpha(step.name)
