"""The taps: what stands behind llama.cpp's own callback, which sees every node before and after it is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from implementations.gguf.engine.library import Library
from implementations.gguf.engine.memory import Memory
from implementations.gguf.engine.tensors import GraphTensors, Value
from implementations.gguf.graph import FUSED, Address, Row
from implementations.gguf.layout import Layout
from parity.errors import BackendUnavailable
from parity.tap import SILENT, Tap

WEIGHED = ("MUL_MAT", "MUL")
"""What reads a weight whole; of a table, rows are only looked up."""


class Watch:
    """Listens to one graph after the other.

    llama.cpp asks of each node whether its value is wanted, and then hands it over. With a tap all are wanted, so that
    when it asks of a node its sources are there: a mask or the cache is read, and answered, before the node reads it.

    Args:
        library: llama.cpp.
        tables: one for parts of token ids, False, and one for parts of rows of pictures, True.
        stored: layers whose keys' places in the cache are those of all layers of their kind, and the kind.
    """

    def __init__(self, library: Library, tables: Mapping[bool, Iterable[Row]], stored: Mapping[int, str]) -> None:
        self.tensors = GraphTensors()
        self.callback = library.ffi.callback("callback", self._called)
        self._library = library
        self._tables = {soft: _by_address(rows) for soft, rows in tables.items()}
        self._stored = {f"cache_k_l{layer} (view)": kind for layer, kind in stored.items()}
        self._ops: dict[int, str] = {}

    def about(self, *, whole: bool, soft: bool, without: str) -> None:
        """What the next part is.

        Args:
            whole: whether it is all of its chunk.
            soft: whether it is of rows of pictures.
            without: a step that its chunk does not have.
        """
        self._whole, self._rows, self._without = whole, self._tables[soft], without

    def begin(self, tap: Tap, layout: Layout) -> None:
        """A part is computed next."""
        self._tap, self._layout = tap, layout
        self.tensors.layout = None if self._whole else layout
        self._error: BaseException | None = None
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
        if self._error is not None:
            raise self._error
        for address, (row, *_) in self._rows.items():
            if self._tap is not SILENT and address not in self._found:
                raise unfit(row, "there is none")

    def _called(self, node: Any, ask: bool, _: Any) -> bool:
        """What llama.cpp calls. What is raised is kept, for False here would end the graph, with logits of zeros."""
        listening = self._tap is not SILENT and self._error is None
        try:
            if ask and self._op(node) == "SET_ROWS":
                self._note(node)
            if listening:
                (self._before if ask else self._behind_it)(node)
        except BaseException as error:  # also an interrupt, which is raised where Python goes on
            self._error = self._error or error
        return listening or not ask

    def _note(self, node: Any) -> None:
        """Where the new keys are put, which is among the inputs of the graph."""
        if kind := self._stored.get(self._name(node)):
            self._layout.note(kind, Memory(self._library, node.src[1]).values.reshape(-1))

    def _before(self, node: Any) -> None:
        """Find which steps a node is, and emit those that it is about to read."""
        self._here = [row for address in self._addresses(node) for row in self._rows.get(address, ())]
        for row in self._here:
            self._found.add(row.address)
            if (op := self._op(node)) != row.op:
                raise unfit(row, f"there is {op}")
            if row.source is not None:
                self._emit(row, node.src[row.source])

    def _behind_it(self, node: Any) -> None:
        for row in self._here:
            if row.source is None:
                self._emit(row, node)

    def _emit(self, row: Row, tensor: Any) -> None:
        if row.step == self._without:
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
        names = (self._name(source) for source in (node.src[0], node.src[1]) if source != self._library.ffi.NULL)
        return next((name for name in names if name.endswith(".weight")), "")

    def _name(self, node: Any) -> str:
        return self._library.text(node.name)

    def _op(self, node: Any) -> str:
        """What a node computes; of one that takes each value to another, by which function."""
        if node.op not in self._ops:
            self._ops[node.op] = self._library.text(self._library.c.ggml_op_name(node.op))
        if self._ops[node.op] != "UNARY":
            return self._ops[node.op]
        return self._library.text(self._library.c.ggml_unary_op_name(node.op_params[0]))


def _by_address(rows: Iterable[Row]) -> dict[Address, list[Row]]:
    found: dict[Address, list[Row]] = {}
    for row in rows:
        found.setdefault(row.address, []).append(row)
    return found


def unfit(row: Row, what: str) -> BackendUnavailable:
    """The error of a graph that another build makes."""
    place = row.node + (f" + {row.behind}" if row.behind else "") + (", the second" if row.again else "")
    return BackendUnavailable(
        f"llama.cpp's graph does not fit: step {row.step} is {row.op} at node {place}; {what}. Is it another build?"
    )
