"""Runs a function of a saved program, operation by operation, with a tap at those that hold steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from implementations.coreml.interpreter import elementwise, moving, sums, weights
from implementations.coreml.interpreter.inputs import Given, Value
from implementations.coreml.interpreter.untrusted import Outputs, require_runnable, told_of
from implementations.coreml.package.program import Function, Operation
from parity.errors import UsageError
from parity.tap import SILENT, Tap

READ, WRITE = "read_state", "write_state"
COMPUTED: dict[str, Callable[[Given], Any]] = {**elementwise.OPERATIONS, **sums.OPERATIONS}
MOVED: dict[str, Callable[[Given], Any]] = {**moving.OPERATIONS}
CONSTANT: dict[str, Callable[[Given], Any]] = {**weights.OPERATIONS}
FUNCTIONS = COMPUTED | MOVED | CONSTANT
KNOWN = {*FUNCTIONS, READ, WRITE}


class Interpreter:
    """One function of a package.

    Args:
        name: what messages call it.
        function: what is run.
        steps: which value is which step of the contract, by the value's name.
        rounded: makes a float16 number of each of a tensor's; applied to each result that is of that format.

    Raises:
        UsageError: for an operation that is not implemented, or reads what is not there.
    """

    def __init__(
        self, name: str, function: Function, steps: Mapping[str, str], rounded: Callable[[Tensor], Tensor]
    ) -> None:
        self.name, self.function = name, function
        self._steps, self._rounded = steps, rounded
        require_runnable(name, function, KNOWN)
        self._constants = {each: held(value) for each, value in function.constants.items()}
        for operation in function.operations:
            if operation.kind in CONSTANT:  # once, not at each call
                self._step(operation, self._constants, {}, SILENT)
        self._operations = [each for each in function.operations if each.kind not in CONSTANT]
        self._last = _last_uses(self._operations)

    def require_steps(self) -> None:
        """Check that each value that is said to be a step is one of the program.

        Raises:
            UsageError: naming the first that is not.
        """
        there = {output.name for operation in self.function.operations for output in operation.outputs}
        if lost := next((value for value in self._steps if value not in there), None):
            raise UsageError(f"{self.name} has no value {lost!r}, which is said to be step {self._steps[lost]}")

    def run(self, given: Mapping[str, Tensor], *, tap: Tap = SILENT) -> Outputs:
        """Run it on inputs and states by name; returns outputs and the states behind the call.

        Raises:
            UsageError: for an operation that cannot be computed, or an input that is not given.
        """
        if lost := [name for name in (*self.function.inputs, *self.function.states) if name not in given]:
            raise UsageError(f"{self.name} takes {lost[0]}, which it is not given")
        states = {name: given[name] for name in self.function.states}
        values: dict[str, Value] = {**self._constants, **{name: given[name] for name in self.function.inputs}}
        for number, operation in enumerate(self._operations):
            self._step(operation, values, states, tap)
            for name in self._last.get(number, ()):  # what nobody reads any more needs no memory
                if name not in self.function.outputs:
                    values.pop(name, None)
        return Outputs(self.name, {**{name: values[name] for name in self.function.outputs}, **states})

    def _step(self, operation: Operation, values: dict[str, Value], states: dict[str, Tensor], tap: Tap) -> None:
        with told_of(self.name, operation):
            found = self._result(operation, values, states)
            results = found if isinstance(found, tuple) else (found,)
            if len(results) != len(operation.outputs):
                raise ValueError(
                    f"it gives {len(results)} tensors, of which the program names {len(operation.outputs)}"
                )
            exact = [operation.kind in MOVED or typed.dtype != "float16" for typed in operation.outputs]
            new = [one if as_it_is else self._rounded(one) for one, as_it_is in zip(results, exact, strict=True)]
        for typed, value in zip(operation.outputs, new, strict=True):
            values[typed.name] = tap(self._steps[typed.name], value) if typed.name in self._steps else value

    def _result(self, operation: Operation, values: Mapping[str, Value], states: dict[str, Tensor]) -> Any:
        if operation.kind in (READ, WRITE):
            state = operation.inputs["input"][0]
            kept = states[state]
            if operation.kind == READ:
                return kept
            states[state] = Given(values).tensor(operation.inputs["data"][0])
            return ()
        parameters = {
            name: [values[each] for each in names] if name == "values" else values[names[0]]
            for name, names in operation.inputs.items()
        }
        return FUNCTIONS[operation.kind](Given(parameters))


def held(value: Any) -> Value:
    """A constant as it is computed with: floating-point numbers in float32, which has all that float16 has."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        array = np.asarray(value, np.float32) if value.dtype.kind == "f" else np.ascontiguousarray(value)
        return torch.from_numpy(array.copy())
    return value.item() if isinstance(value, np.generic) else value


def _last_uses(operations: Sequence[Operation]) -> dict[int, list[str]]:
    """The values that are read for the last time, by the number of the operation that reads them."""
    last = {
        name: number
        for number, operation in enumerate(operations)
        for names in operation.inputs.values()
        for name in names
    }
    found: dict[int, list[str]] = {}
    for name, number in last.items():
        found.setdefault(number, []).append(name)
    return found
