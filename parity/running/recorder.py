"""Behind a live tap is a recorder: it notes what a forward pass says, and in lockstep answers with what is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from numpy.typing import NDArray

from parity.backend import Place, Tensors
from parity.contract import Contract
from parity.running.answers import WHOLE, Answers
from parity.running.pieces import Pieces
from parity.scenario import Scenario
from parity.tap import AS_IT_IS, Ahead, Hear, ScopedTap
from parity.traces.coverage import NOTHING, Missing
from parity.traces.trace import Key, Trace

Notify = Callable[[str], None]
"""Called with each step's name before the step is read, so that a crash can be placed."""
WAITING = 2**27
"""Bytes of values that a lazy backend may leave to be computed together: they hold all that they are computed of, and
those of a picture of 768 pixels are 4 GB. A short chunk of text has fewer."""


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
        self.tap = ScopedTap(self._receive, ahead=self._ahead)
        self._contract = contract
        self._sink = sink
        self._answers = Answers(contract, tensors, oracle, scenario)
        self._lockstep = lockstep
        self._missing = missing
        self._notify = notify
        self._phase = ""
        self._seen: Counter[str] = Counter()
        self._pieces = Pieces()
        self._pending: list[tuple[str, int, Any]] = []
        self._waiting = 0
        self._said = ""
        self._reads = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around a forward pass: an error of its own is placed at the step that it said last.

        Of a lazy backend that one need not be read yet, and an error of what is read has its place already.
        """
        try:
            yield
        except Exception:
            if self._said and not self._reads:
                self._notify(self._said)
            raise

    def begin(self, phase: str) -> None:
        """Values that follow belong to `phase`."""
        self._phase = phase
        self._seen.clear()
        self._sink.begin(phase)

    def hear(self, phases: Sequence[str]) -> Hear:
        """Taps of a generation loop: each of its forward passes is the next of `phases`, further ones are the last."""
        left = iter(phases)

        def next_pass() -> ScopedTap:
            if (phase := next(left, None)) is not None:
                self.end()
                self.begin(phase)
            return self.tap

        return next_pass

    def end(self) -> None:
        """Read what a lazy backend left to be computed, and close the phase."""
        self._read()
        for name, whole in self._pieces.assembled():
            self._add(name, 0, whole[self._answers.common(Key(self._phase, name), whole.shape)])
        self._sink.end()

    def _receive(self, name: str, value: Any) -> Any:
        """Record a step and answer; where it is scaled, not with what waits to be read: some go on in place."""
        self._said = name
        if Key(self._phase, name) in self._missing:
            return value
        scaled = self._answers.scaled(name, value)
        answer = self._recorded(name, scaled)
        return self._answers.scaled(name, value) if answer is scaled else answer

    def _ahead(self, name: str) -> Ahead:
        """What `_receive` will answer to the next value of a step, if that has the shape of the oracle's."""
        key = Key(self._phase, name, self._seen[name])
        if Key(self._phase, name) in self._missing:
            return AS_IT_IS
        true = self._answers.true(key) if self._lockstep else None
        return self._answers.factor(name) if true is None else true

    def _recorded(self, name: str, value: Any) -> Any:
        if (piece := self._answers.piece(Key(self._phase, name), value)) is not None:
            return self._receive_piece(name, value, *piece)
        occurrence = self._seen[name]
        self._seen[name] += 1
        if self._answers.translation(value).lazy:
            self._wait(name, occurrence, value)
        else:
            self._write(name, occurrence, value)
        return self._answer(Key(self._phase, name, occurrence), value)

    def _wait(self, name: str, occurrence: int, value: Any) -> None:
        """Leave a value to be computed with others, which is quicker, as long as they do not take too much together."""
        self._pending.append((name, occurrence, value))
        self._waiting += getattr(value, "nbytes", 0)
        if self._waiting > WAITING:
            self._read()

    def _read(self) -> None:
        """What was left to be computed, in the order of emission."""
        self._reads = True  # and stays so where one cannot be read
        for name, occurrence, value in self._pending:
            self._write(name, occurrence, value)
        self._pending.clear()
        self._waiting, self._reads = 0, False

    def _receive_piece(self, name: str, value: Any, place: Place, shape: tuple[int, ...]) -> Any:
        self._notify(name)
        array = self._answers.to_numpy(name, value)
        if occurrence := self._pieces.again(name, shape, place):
            self._add(name, occurrence, array)
        else:
            self._pieces.add(name, array, shape, place)
        key = Key(self._phase, name)
        return self._answer(key, value, place) if shape == self._answers.shape(key) else value

    def _write(self, name: str, occurrence: int, value: Any) -> None:
        self._notify(name)
        array = self._answers.to_numpy(name, value)
        self._add(name, occurrence, array[self._answers.common(Key(self._phase, name), array.shape)])

    def _add(self, name: str, occurrence: int, array: NDArray[Any]) -> None:
        step = self._contract.get(name)
        self._sink.add(name, occurrence, step.axes if step else (), array)

    def _answer(self, key: Key, value: Any, place: Place = WHOLE) -> Any:
        """What a party goes on with: in lockstep the oracle's value, where it has one of that shape; else its own."""
        answer = self._answers.answer(key, value, place) if self._lockstep else None
        return value if answer is None else answer
