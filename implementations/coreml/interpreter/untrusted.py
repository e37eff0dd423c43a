"""What others wrote may be wrong in any way: here it becomes one line, before a program is run, in it and behind it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import zip_longest

from torch import Tensor

from implementations.coreml.package.program import Function, Operation
from parity.errors import UsageError

FORMATS = ("bool", "float16", "float32", "int8", "int16", "int32", "uint8", "uint16")
"""Number formats of what an operation gives."""


def require_runnable(name: str, function: Function, known: Collection[str]) -> None:
    """Check that a function's operations are known, and that each value is there before it is read.

    Args:
        name: what messages call it.
        function: what it says.
        known: kinds of operations.

    Raises:
        UsageError: naming the first that is not.
    """
    if unknown := sorted({operation.kind for operation in function.operations} - {*known}):
        raise UsageError(f"{name} has an operation {unknown[0]!r}, which the interpreter does not know")
    computed, stored = {*function.inputs}, {*function.constants, *function.states}
    for operation in function.operations:
        with told_of(name, operation):
            _require_given(operation, computed, stored)
        computed.update(output.name for output in operation.outputs)
    if lost := [output for output in function.outputs if output not in computed]:
        raise UsageError(f"{name} is to give {lost[0]!r}, which nothing in it computes")


def _require_given(operation: Operation, *there: Collection[str]) -> None:
    if lost := [each for given in operation.inputs.values() for each in given if not any(each in one for one in there)]:
        raise ValueError(f"nothing before it gives {lost[0]!r}")
    if odd := [output.dtype for output in operation.outputs if output.dtype not in FORMATS]:
        raise ValueError(f"numbers in {odd[0] or 'a format that is none'} are not computed with")


@contextmanager
def told_of(name: str, operation: Operation) -> Iterator[None]:
    """Inside it an operation is computed.

    Raises:
        UsageError: for whatever is wrong with it: what it lacks, shapes that do not fit, numbers that are words.
    """
    try:
        yield
    except Exception as error:  # torch and NumPy raise all kinds of them
        what = operation.outputs[0].name if operation.outputs else operation.kind
        reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise UsageError(f"{name}: operation {what} ({operation.kind}) cannot be run: {reason}") from error


class Outputs(dict[str, Tensor]):
    """What packages give, by name.

    Args:
        owner: what messages call them.
        tensors: by name.
    """

    def __init__(self, owner: str, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(tensors)
        self._owner = owner

    def __missing__(self, name: str) -> Tensor:
        raise UsageError(f"{self._owner} gives no {name}")

    def shaped(self, name: str, *shape: int | None) -> Tensor:
        """A tensor of that shape, in which None is an axis of any length.

        Raises:
            UsageError: where there is none, or one of another shape.
        """
        found = self[name]
        wanted = [own if size is None else size for size, own in zip_longest(shape, found.shape, fillvalue=-1)]
        if [*found.shape] != wanted:
            told = ", ".join("any" if size is None else str(size) for size in shape)
            raise UsageError(f"{self._owner} gives {name} of {[*found.shape]}, not of [{told}]")
        return found
