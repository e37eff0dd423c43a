"""What stands behind the callback of ggml's scheduler, which sees every node before and after it is computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from implementations.gguf.engine.library import Library
from parity.errors import BackendUnavailable
from parity.tap import SILENT, Tap


class Listener(ABC):
    """Listens to one graph after the other.

    The scheduler asks of each node whether its value is wanted, and then hands it over. With a tap all are wanted, so
    that when it asks of a node its sources are there, and may be read and answered before the node reads them.

    Args:
        library: llama.cpp.

    Attributes:
        callback: for the parameters of a context.
    """

    def __init__(self, library: Library) -> None:
        self.callback = library.ffi.callback("callback", self._called)
        self._library = library
        self._tap: Tap = SILENT
        self._error: BaseException | None = None
        self._ops: dict[int, str] = {}

    def _listen(self, tap: Tap) -> None:
        """A graph is computed next."""
        self._tap, self._error = tap, None

    def _raise(self) -> None:
        """The graph was computed: raise what was raised while it was."""
        if self._error is not None:
            raise self._error

    @abstractmethod
    def before(self, node: Any) -> None:
        """A node's sources are there."""

    @abstractmethod
    def behind(self, node: Any) -> None:
        """A node was computed."""

    def always(self, node: Any) -> None:  # noqa: B027 - few have anything to do without a tap
        """A node is asked for, whether anybody listens or not."""

    def _called(self, node: Any, ask: bool, _: Any) -> bool:
        """What the scheduler calls. What is raised is kept, for False here would end the graph, with zeros."""
        listening = self._tap is not SILENT and self._error is None
        try:
            if ask:
                self.always(node)
            if listening:
                (self.before if ask else self.behind)(node)
        except BaseException as error:  # also an interrupt, which is raised where Python goes on
            self._error = self._error or error
        return listening or not ask

    def _name(self, node: Any) -> str:
        return self._library.text(node.name)

    def _op(self, node: Any) -> str:
        """What a node computes; of one that takes each value to another, by which function."""
        if node.op not in self._ops:
            self._ops[node.op] = self._library.text(self._library.c.ggml_op_name(node.op))
        if self._ops[node.op] != "UNARY":
            return self._ops[node.op]
        return self._library.text(self._library.c.ggml_unary_op_name(node.op_params[0]))

    def _sources(self, node: Any) -> list[str]:
        """Names of the first two of a node's sources, where a weight would be."""
        return [self._name(source) for source in (node.src[0], node.src[1]) if source != self._library.ffi.NULL]


def unfit(graph: str, step: str, found: str) -> BackendUnavailable:
    """The error of a graph that another build makes: of whose graph, which step, and what is there."""
    return BackendUnavailable(f"{graph}'s graph does not fit: step {step} is {found}. Is it another build?")
