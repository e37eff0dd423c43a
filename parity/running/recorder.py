"""Behind a live tap: writes down what a forward pass says and, in lockstep, answers with the oracle's values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parity.backend import Tensors
from parity.contract import Contract
from parity.host_tensors import HostTensors
from parity.running.pieces import Pieces
from parity.scenario import Scenario
from parity.tap import Hear, ScopedTap
from parity.traces.coverage import NOTHING, Missing
from parity.traces.trace import Key, Trace

HOST = HostTensors()
Notify = Callable[[str], None]
"""Called with each step's name before the step is read, so that a crash can be placed."""


class Sink(Protocol):
    """Takes the tensors of one run, phase after phase: writes them (`TraceWriter`), or only measures them."""

    def begin(self, phase: str) -> None:
        """Tensors that follow are of `phase`."""

    def add(self, step: str, occurrence: int, axes: tuple[str, ...], array: NDArray[Any]) -> None:
        """One tensor, which may change once this returns."""

    def end(self) -> None:
        """The phase is over."""


class Recorder:
    """Receives the taps of one run.

    Args:
        contract: gives the axes of each step; steps that it lacks are recorded all the same.
        tensors: the backend's translation to NumPy.
        sink: where tensors go.
        oracle: the oracle's trace, which says how large each step is; none while the oracle itself is recorded.
        lockstep: whether the oracle's values replace the candidate's.
        missing: what is passed over, as if there were no tap: a baseline is held to what a candidate emits.
        scenario: says which steps' values are scaled, and whether the last token's logits alone are asked for.
        notify: told the name of each step as it is read.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        tensors: Tensors,
        sink: Sink,
        oracle: Trace | None = None,
        lockstep: bool = False,
        missing: Missing = NOTHING,
        scenario: Scenario | None = None,
        notify: Notify = lambda step: None,
    ) -> None:
        self.tap = ScopedTap(self._receive)
        self._contract = contract
        self._tensors = tensors
        self._sink = sink
        self._oracle = oracle
        self._lockstep = lockstep
        self._missing = missing
        self._scenario = scenario
        self._notify = notify
        self._phase = ""
        self._seen: Counter[str] = Counter()
        self._pieces = Pieces()
        self._pending: list[tuple[str, int, Any]] = []

    def begin(self, phase: str) -> None:
        """Values that follow belong to `phase`."""
        self._phase = phase
        self._seen.clear()
        self._sink.begin(phase)

    def hear(self, phases: Sequence[str]) -> Hear:
        """For a generation loop: each of its forward passes is the next of `phases`, and further ones are the last."""
        left = iter(phases)

        def next_pass() -> ScopedTap:
            if (phase := next(left, None)) is not None:
                self.end()
                self.begin(phase)
            return self.tap

        return next_pass

    def end(self) -> None:
        """Read what a lazy backend left to be computed, in the order of emission, and close the phase."""
        for name, occurrence, value in self._pending:
            self._write(name, occurrence, value)
        self._pending.clear()
        for name, whole in self._pieces.assembled():
            self._add(name, 0, whole)
        self._sink.end()

    def _receive(self, name: str, value: Any) -> Any:
        """Record a step and answer; where it is scaled, not with what waits to be read: some go on in place."""
        if Key(self._phase, name) in self._missing:
            return value
        scaled = self._scaled(name, value)
        answer = self._recorded(name, scaled)
        return self._scaled(name, value) if answer is scaled else answer

    def _recorded(self, name: str, value: Any) -> Any:
        if (shape := self._shape(name)) is not None:
            step = self._contract.get(name)
            if (place := self._of(value).place(step, shape)) is not None:
                return self._receive_piece(name, value, shape, place)
        occurrence = self._seen[name]
        self._seen[name] += 1
        if self._of(value).lazy:
            self._pending.append((name, occurrence, value))
        else:
            self._write(name, occurrence, value)
        return self._answer(Key(self._phase, name, occurrence), value, ())

    def _receive_piece(self, name: str, value: Any, shape: tuple[int, ...], place: tuple[slice, ...]) -> Any:
        self._notify(name)
        array = self._of(value).to_numpy(value, self._contract.get(name))
        if occurrence := self._pieces.again(name, shape, place):
            self._add(name, occurrence, array)
        else:
            self._pieces.add(name, array, shape, place)
        return self._answer(Key(self._phase, name), value, place)

    def _scaled(self, name: str, value: Any) -> Any:
        """The value times the scenario's factor for the step."""
        if self._scenario is None or (factor := self._scenario.factor(name)) is None:
            return value
        step, tensors = self._contract.get(name), self._of(value)
        array = tensors.to_numpy(value, step)
        return tensors.from_numpy((array * factor).astype(array.dtype), value, step)

    def _shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of the whole chunk's tensor, as the oracle has it."""
        record = self._oracle.records.get(Key(self._phase, name)) if self._oracle else None
        return tuple(record.shape) if record else None

    def _write(self, name: str, occurrence: int, value: Any) -> None:
        self._notify(name)
        array = self._of(value).to_numpy(value, self._contract.get(name))
        self._add(name, occurrence, array[self._last(name, array.shape)])

    def _last(self, name: str, shape: tuple[int, ...]) -> tuple[slice, ...]:
        """The part of a party's tensor that the oracle has: in a conversation a party may emit all tokens' logits."""
        true = self._shape(name)
        if true is None or len(true) != len(shape) or self._scenario is None or not self._scenario.turns:
            return ()
        tokens = self._scenario.chunk(self._phase).length
        cut = [
            slice(-1, None) if (have, want) == (tokens, 1) else slice(None)
            for have, want in zip(shape, true, strict=True)
        ]
        return tuple(cut)

    def _add(self, name: str, occurrence: int, array: NDArray[Any]) -> None:
        step = self._contract.get(name)
        self._sink.add(name, occurrence, step.axes if step else (), array)

    def _answer(self, key: Key, value: Any, place: tuple[slice, ...]) -> Any:
        """In lockstep the oracle's value, where it has one of the same shape; else the candidate goes on with its own.

        Args:
            key: of the step.
            value: the candidate's.
            place: the part of the oracle's tensor that the value stands for; empty for all of it.
        """
        if not self._lockstep or self._oracle is None or key not in self._oracle.records:
            return value
        step, tensors = self._contract.get(key.step), self._of(value)
        array = self._oracle.tensor(key)
        if array is None:
            return value
        if not tensors.fits(value, (array := array[place]).shape, step):
            whole = tensors.to_numpy(value, step)
            last = self._last(key.step, whole.shape)
            if not last or whole[last].shape != array.shape:
                return value
            (whole := whole.copy())[last] = array
            array = whole
        return tensors.from_numpy(array, value, step)

    def _of(self, value: Any) -> Tensors:
        """What translates a value: a backend may emit NumPy arrays too."""
        return HOST if isinstance(value, np.ndarray) else self._tensors
