"""The taps of the vision tower: nodes of libmtmd's graph as steps, read and answered."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implementations.gguf.engine.library import Library
from implementations.gguf.engine.listening import Listener, unfit
from implementations.gguf.engine.memory import Memory
from implementations.gguf.engine.tensors import GraphTensors, Value
from implementations.gguf.vision.graph import FLAT, INPUT, MAP, SOFT, TOKENS, Node
from parity.tap import SILENT, Tap

READERS = ("CONV_2D", "MUL_MAT", "MUL", "ADD", "PAD")
"""What reads a weight or the input; others only look at a weight in other axes."""
RESHAPED = " (reshaped)"
NAMED = (".weight", ".gamma", ".bias", INPUT)


class OnePicture:
    """Which of a chunk's pictures is computed."""

    def __init__(self, index: int) -> None:
        self._index = index

    def place(self, axes: tuple[str, ...], step: str) -> dict[str, slice]:
        """Which part of the chunk's tensor a value is."""
        return {"image": slice(self._index, self._index + 1)}

    def lengths(self, axes: tuple[str, ...], step: str) -> dict[str, int]:
        """As the oracle's."""
        return {}


class VisionWatch(Listener):
    """Listens to graphs of one picture each.

    Args:
        library: llama.cpp.
        nodes: the table.
        tensors: of the backend.
        hidden: width of the language model, of the wider soft tokens of the file.
        factor: what these are too large by.
    """

    def __init__(
        self, library: Library, nodes: Iterable[Node], tensors: GraphTensors, hidden: int, factor: float
    ) -> None:
        super().__init__(library)
        self._tensors, self._hidden, self._factor = tensors, hidden, np.float32(factor)
        self._nodes: dict[tuple[str, str], list[Node]] = {}
        for node in nodes:
            self._nodes.setdefault(node.address, []).append(node)

    def begin(self, tap: Tap, picture: int) -> None:
        """A picture is computed next; `picture`: its place among those of the chunk."""
        self._listen(tap)
        self._tensors.layout = OnePicture(picture)
        self._weight = ""
        self._since: set[str] = set()
        self._here: list[Node] = []
        self._left = dict(self._nodes)

    def end(self) -> None:
        """The picture was computed.

        Raises:
            BaseException: what was raised while it was.
            BackendUnavailable: where the graph lacks a node of the table.
        """
        self._tensors.layout = None
        self._raise()
        if self._tap is not SILENT and self._left:
            (node, *_), *_ = self._left.values()
            raise unfit("libmtmd", node.step, f"{node.op} behind {node.weight}, and there is none")

    def behind(self, tensor: Any) -> None:
        """Emit the steps that it is."""
        for node in self._here:
            if node.source is None:
                self._emit(node, tensor)

    def before(self, tensor: Any) -> None:
        """Find which steps a node is, and emit those that it is about to read."""
        op = self._op(tensor)
        if weight := self._read(tensor, op):
            self._weight = weight
            self._since.clear()
        first = op not in self._since
        self._since.add(op)
        self._here = self._left.pop((self._weight, op), []) if first else []
        for node in self._here:
            if node.source is not None:
                self._emit(node, tensor.src[node.source])

    def _emit(self, node: Node, tensor: Any) -> None:
        memory = Memory(self._library, tensor)
        value = Value(self._viewed(node, memory.values))
        if node.step == SOFT:
            value = Value(value.array / self._factor)
        answer = self._tap(node.step, value)
        if answer is not value:
            values = memory.values
            self._viewed(node, values)[...] = answer.array * self._factor if node.step == SOFT else answer.array
            memory.write(values)

    def _viewed(self, node: Node, values: NDArray[Any]) -> NDArray[Any]:
        """A node's values in the contract's axes, of one picture; what is written there is in `values`."""
        if node.memory == MAP:
            return values.reshape(1, *values.shape[-3:])
        if node.memory == FLAT:
            side = math.isqrt(values.shape[-2])
            return values.reshape(1, values.shape[-3], side, side)
        if node.memory == TOKENS:
            tokens = values.reshape(1, *values.shape[-2:])
            return tokens[..., : self._hidden] if node.step == SOFT else tokens
        return values.transpose(0, 3, 2, 1)

    def _read(self, tensor: Any, op: str) -> str:
        """The weight that a node reads, or the input; empty where it reads none."""
        if op not in READERS:
            return ""
        names = (name.split(RESHAPED)[0] for name in self._sources(tensor))
        return next((name for name in names if name.endswith(NAMED)), "")
