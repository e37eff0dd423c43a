"""The taps of the language model: nodes of llama.cpp's graph as steps, read and answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from typing import Any

from implementations.gguf.engine.library import Library
from implementations.gguf.engine.listening import Listener, unfit
from implementations.gguf.engine.memory import Memory
from implementations.gguf.engine.tensors import GraphTensors, Value
from implementations.gguf.graph import FUSED, Address, Row
from implementations.gguf.layout import Layout
from parity.errors import BackendUnavailable
from parity.tap import SILENT, Tap

WEIGHED = ("MUL_MAT", "MUL")
"""What reads a weight whole; of a table, rows are only looked up."""


class Watch(Listener):
    """Listens to the parts of a chunk; a mask or the cache is read, and answered, before a node reads it.

    Args:
        library: llama.cpp.
        tables: one for parts of token ids, False, and one for parts of rows of media, True.
        stored: layers whose keys' places in the cache are those of all layers of their kind, and the kind.
    """

    def __init__(self, library: Library, tables: Mapping[bool, Iterable[Row]], stored: Mapping[int, str]) -> None:
        super().__init__(library)
        self.tensors = GraphTensors()
        self._tables = {soft: _by_address(rows) for soft, rows in tables.items()}
        self._stored = {f"cache_k_l{layer} (view)": kind for layer, kind in stored.items()}

    def about(self, *, whole: bool, soft: bool, without: Container[str]) -> None:
        """What the next part is.

        Args:
            whole: whether it is all of its chunk.
            soft: whether it is of rows of media.
            without: steps that its chunk does not have.
        """
        self._whole, self._rows, self._without = whole, self._tables[soft], without

    def begin(self, tap: Tap, layout: Layout) -> None:
        """A part is computed next."""
        self._listen(tap)
        self._layout = layout
        self.tensors.layout = None if self._whole else layout
        self._seen: Counter[str] = Counter()
        self._anchor, self._behind = "", 0
        self._found: set[Address] = set()
        self._here: list[Row] = []

    def end(self) -> None:
        """The part was computed.

        Raises:
            BaseException: what was raised while it was.
            BackendUnavailable: where the graph lacks a node of the table.
        """
        self.tensors.layout = None
        self._raise()
        for address, (row, *_) in self._rows.items():
            if self._tap is not SILENT and address not in self._found:
                raise _unfit(row, "there is none")

    def always(self, node: Any) -> None:
        """Note where the new keys are put, which is among the inputs of the graph."""
        if self._op(node) == "SET_ROWS" and (kind := self._stored.get(self._name(node))):
            self._layout.note(kind, Memory(self._library, node.src[1]).values.reshape(-1))

    def before(self, node: Any) -> None:
        """Find which steps a node is, and emit those that it is about to read."""
        self._here = [row for address in self._addresses(node) for row in self._rows.get(address, ())]
        for row in self._here:
            self._found.add(row.address)
            if (op := self._op(node)) != row.op:
                raise _unfit(row, f"there is {op}")
            if row.source is not None:
                self._emit(row, node.src[row.source])

    def behind(self, node: Any) -> None:
        """Emit the steps that it is."""
        for row in self._here:
            if row.source is None:
                self._emit(row, node)

    def _emit(self, row: Row, tensor: Any) -> None:
        if row.step in self._without:
            return
        memory = Memory(self._library, tensor)
        value = Value(self._layout.read(row, memory.values))
        answer = self._tap(row.step, value)
        if answer is not value:
            values = memory.values
            self._layout.write(row, values, answer.array)
            memory.write(values)

    def _addresses(self, node: Any) -> list[Address]:
        """By which the table may have a node: its name, what it computes, and the weight that it follows."""
        op, name = self._op(node), self._name(node)
        if op == FUSED:  # it has no name, and there is one a layer
            name = f"{FUSED}-{self._seen[FUSED]}"
            self._seen[FUSED] += 1
        weight = self._weight(node) if op in WEIGHED else ""
        if weight:
            self._anchor, self._behind = weight, 0
            self._seen[weight] += 1
        else:
            self._behind += 1
        self._seen[name] += 1
        return [
            (name, 0, self._seen[name] > 1),
            (self._anchor, self._behind, self._seen[self._anchor] > 1),
        ]

    def _weight(self, node: Any) -> str:
        """The weight among a node's sources; empty where it has none."""
        return next((name for name in self._sources(node) if name.endswith(".weight")), "")


def _by_address(rows: Iterable[Row]) -> dict[Address, list[Row]]:
    found: dict[Address, list[Row]] = {}
    for row in rows:
        found.setdefault(row.address, []).append(row)
    return found


def _unfit(row: Row, what: str) -> BackendUnavailable:
    place = row.node + (f" + {row.behind}" if row.behind else "") + (", the second" if row.again else "")
    return unfit("llama.cpp", row.step, f"{row.op} at node {place}; {what}")
