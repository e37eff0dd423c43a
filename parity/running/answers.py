"""What the oracle has at the steps of a run, in the form in which a party takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Place, Tensors
from parity.contract import Contract
from parity.dtypes import name_of
from parity.errors import UsageError
from parity.host_tensors import HostTensors
from parity.scenario import Scenario
from parity.tap import AS_IT_IS
from parity.traces.trace import Key, Trace

HOST = HostTensors()
WHOLE: Place = ()
"""The place of a value that is all of its step's tensor."""


class Answers:
    """Translates between a party's values and the oracle's.

    Args:
        contract: gives the axes of each step.
        tensors: the backend's translation to NumPy.
        oracle: its trace; None while the oracle itself is recorded.
        scenario: says which steps' values are scaled, and whether the last token's logits alone are asked for.
    """

    def __init__(self, contract: Contract, tensors: Tensors, oracle: Trace | None, scenario: Scenario | None) -> None:
        self._contract, self._tensors, self._oracle, self._scenario = contract, tensors, oracle, scenario

    def translation(self, value: Any) -> Tensors:
        """What translates a value: a backend may emit NumPy arrays too."""
        return HOST if isinstance(value, np.ndarray) else self._tensors

    def to_numpy(self, name: str, value: Any) -> NDArray[Any]:
        """A party's value of a step.

        Raises:
            UsageError: for what is no tensor of numbers.
        """
        array = self.translation(value).to_numpy(value, self._contract.get(name))
        try:
            name_of(np.asarray(array))
        except UsageError as error:
            raise UsageError(f"step {name}: {error}") from error
        return array

    def factor(self, name: str) -> float:
        """What the scenario multiplies a step's values by."""
        factor = None if self._scenario is None else self._scenario.factor(name)
        return AS_IT_IS if factor is None else factor

    def scaled(self, name: str, value: Any) -> Any:
        """The value times the scenario's factor for the step."""
        if (factor := self.factor(name)) == AS_IT_IS:
            return value
        array = self.to_numpy(name, value)
        scaled = (array * factor).astype(array.dtype)
        return self.translation(value).from_numpy(scaled, value, self._contract.get(name))

    def shape(self, key: Key) -> tuple[int, ...] | None:
        """The shape of the oracle's tensor, which is of the whole chunk; None where it has none."""
        record = self._oracle.records.get(key) if self._oracle else None
        return tuple(record.shape) if record else None

    def piece(self, key: Key, value: Any) -> tuple[Place, tuple[int, ...]] | None:
        """Which part of the party's own tensor a value is, and the shape of that; None where it is the whole."""
        if (true := self.shape(key)) is None:
            return None
        step, tensors = self._contract.get(key.step), self.translation(value)
        shape = tensors.whole(step, true)
        place = tensors.place(step, shape)
        return None if place is None else (place, shape)

    def common(self, key: Key, shape: tuple[int, ...]) -> Place:
        """The part of a party's tensor that the oracle has.

        In a conversation a party may emit all tokens' logits. And a query may look along keys that the oracle dropped,
        for they are beyond its window: what it scores there is nobody's, and a weight there shows in all others.
        """
        true = self.shape(key)
        if true is None or len(true) != len(shape) or true == shape:
            return WHOLE
        if self._scenario is not None and self._scenario.turns:
            tokens = self._scenario.chunk(key.phase).length
            pairs = zip(shape, true, strict=True)
            return tuple(slice(-1, None) if pair == (tokens, 1) else slice(None) for pair in pairs)
        step = self._contract.get(key.step)
        looked = self._contract.axes.layout(step.axes, shape).looked if step and step.kind == "float" else ()
        if any(
            own < there or (own > there and at not in looked)
            for at, (own, there) in enumerate(zip(shape, true, strict=True))
        ):
            return WHOLE
        return tuple(slice(own - there, None) for own, there in zip(shape, true, strict=True))

    def true(self, key: Key) -> NDArray[Any] | None:
        """The oracle's whole tensor; None where it kept none."""
        return self._oracle.tensor(key) if self._oracle is not None and key in self._oracle.records else None

    def answer(self, key: Key, value: Any, place: Place = WHOLE) -> Any:
        """The oracle's value in place of a party's; None where it has none of that shape.

        Args:
            key: of the step.
            value: the party's.
            place: the part of the oracle's tensor that the value stands for.
        """
        if (true := self.true(key)) is None:
            return None
        step, tensors, true = self._contract.get(key.step), self.translation(value), true[place]
        if not tensors.fits(value, true.shape, step):
            whole = tensors.to_numpy(value, step)
            part = self.common(Key(key.phase, key.step), whole.shape)
            if not part or whole[part].shape != true.shape:
                return None
            (whole := whole.copy())[part] = true
            true = whole
        return tensors.from_numpy(true, value, step)
