"""Behind a live tap: writes down what a forward pass says and, in lockstep, answers with the oracle's values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from parity.backend import Tensors
from parity.contract import Contract, Step
from parity.tap import ScopedTap
from parity.trace import Key, Trace
from parity.trace_writer import TraceWriter

Notify = Callable[[str], None]
"""Called with each step's name before the step is read, so that a crash can be placed."""


class Recorder:
    """Receives the taps of one run.

    Args:
        contract: gives the axes of each step; steps that it lacks are recorded all the same.
        tensors: the backend's translation to NumPy.
        writer: where records go.
        oracle: in lockstep, the trace whose values replace the candidate's.
        notify: told the name of each step as it is read.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        tensors: Tensors,
        writer: TraceWriter,
        oracle: Trace | None = None,
        notify: Notify = lambda step: None,
    ) -> None:
        self.tap = ScopedTap(self._receive)
        self._contract = contract
        self._tensors = tensors
        self._writer = writer
        self._oracle = oracle
        self._notify = notify
        self._phase = ""
        self._seen: Counter[str] = Counter()
        self._pending: list[tuple[str, int, Any]] = []

    def begin(self, phase: str) -> None:
        """Values that follow belong to `phase`."""
        self._phase = phase
        self._seen.clear()
        self._writer.begin(phase)

    def end(self) -> None:
        """Read what a lazy backend left to be computed, in the order of emission, and close the phase."""
        for name, occurrence, value in self._pending:
            self._write(name, occurrence, value)
        self._pending.clear()
        self._writer.end()

    def _receive(self, name: str, value: Any) -> Any:
        occurrence = self._seen[name]
        self._seen[name] += 1
        if self._tensors.lazy:
            self._pending.append((name, occurrence, value))
        else:
            self._write(name, occurrence, value)
        if self._oracle is None:
            return value
        return self._answer(self._oracle, Key(self._phase, name, occurrence), value)

    def _write(self, name: str, occurrence: int, value: Any) -> None:
        self._notify(name)
        step = self._contract.get(name)
        array = self._tensors.to_numpy(value, step)
        self._writer.add(name, occurrence, step.axes if step else (), array)

    def _answer(self, oracle: Trace, key: Key, value: Any) -> Any:
        """The oracle's value where it has one of the same shape; else the candidate goes on with its own."""
        if key not in oracle.records:
            return value
        array = oracle.tensor(key)
        step: Step | None = self._contract.get(key.step)
        if array is None or not self._tensors.fits(value, array.shape, step):
            return value
        return self._tensors.from_numpy(array, value, step)
