"""Every value of a conversation with such a folder, as files that `parity diff` pairs with the reference's steps."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

from implementations.ane.engine.rounding import round_half
from implementations.coreml.anemll.conversation import INFER, LOGITS, Conversation
from implementations.coreml.anemll.folder import Folder
from implementations.coreml.package.program import Function
from parity.errors import CannotWrite, UsageError
from parity.safetensors_header import header_of
from parity.tap import ScopedTap
from parity.traces.trace import Trace

FORMAT, NUMBER = "F32", np.dtype("<f4")
"""Of every value: float32 has all that float16 has."""


def tokens_of(oracle: Path) -> list[int]:
    """The tokens of a trace.

    Raises:
        UsageError: for what is no trace, or one of several rows or calls.
    """
    scenario = Trace.read(oracle).scenario
    rows = [row for chunk in scenario.chunks for row in chunk.tokens or ()]
    if len(scenario.chunks) != 1 or len(rows) != 1:
        raise UsageError(f"{oracle} is a trace of {scenario.name}; a folder's values are held to one-shot")
    return [*rows[0]]


def write_dump(folder: Folder, tokens: Sequence[int], function: str, output: Path, told: Callable[[], None]) -> None:
    """Write a file for each package, with its values and their names, and one with the logits of each token.

    Memory holds the values of one call: those of 1,000 tokens of a model of half a billion parameters take gigabytes.

    Args:
        folder: with its packages.
        tokens: of one sequence.
        function: `infer`, whose values of each token lie one behind the other in a new first axis; or `prefill`, whose
            values are of a whole batch, and which has no logits.
        output: an empty folder.
        told: called behind each call.

    Raises:
        UsageError: for a package that cannot be run, tokens that do not fit it, or a value whose shape changes.
        CannotWrite: where there is no room.
    """
    conversation = Conversation(folder, round_half, function, shown)
    calls = len(tokens) // conversation.step
    packages = sorted({package.stem for package in folder.packages}, key=len, reverse=True)
    values: dict[str, dict[str, Tensor]] = defaultdict(dict)
    files: dict[str, _Stacked] = {}

    def keep(name: str, value: Tensor) -> Tensor:
        package = next(each for each in packages if name.startswith(f"{each}."))
        values[package][name.removeprefix(f"{package}.")] = value
        return value

    for call, found in enumerate(conversation.run(tokens, ScopedTap(keep))):
        told()
        if function == INFER:
            values[LOGITS][LOGITS] = found
        for package, tensors in values.items():
            if call == 0:
                files[package] = _Stacked(output / f"{package}.safetensors", calls, tensors)
            files[package].write(call, tensors)
        values.clear()


class _Stacked:
    """A file of values with a new first axis, of which each call gives one entry; on the disk as they come.

    Args:
        file: is not there yet.
        calls: how many entries there will be.
        values: of one call, whose shapes are those of all: the header, which says where each lies, comes first.

    Raises:
        CannotWrite: where there is no room.
    """

    def __init__(self, file: Path, calls: int, values: Mapping[str, Tensor]) -> None:
        self._file = file
        self._shapes = {name: tuple(values[name].shape) for name in sorted(values)}
        header = header_of({name: (FORMAT, (calls, *shape)) for name, shape in self._shapes.items()})
        self._begins, begin = {}, len(header)
        for name, shape in self._shapes.items():
            self._begins[name] = begin
            begin += calls * math.prod(shape) * NUMBER.itemsize
        with _told_of(file):
            file.write_bytes(header)

    def write(self, call: int, values: Mapping[str, Tensor]) -> None:
        """Write the entry of a call.

        Raises:
            UsageError: for a value of another shape than the first call's.
            CannotWrite: where there is no room.
        """
        with _told_of(self._file), self._file.open("r+b") as file:
            for name, value in values.items():
                if tuple(value.shape) != self._shapes.get(name):
                    raise UsageError(f"{self._file.stem}: {name} is {[*value.shape]} in call {call + 1}, not as before")
                array = np.ascontiguousarray(value.numpy(), NUMBER)
                file.seek(self._begins[name] + call * array.nbytes)
                file.write(array.data)


@contextmanager
def _told_of(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotWrite(f"{file} cannot be written: {error.strerror or error}") from error


def shown(function: Function) -> Mapping[str, str]:
    """Which values of a function are written: floating-point numbers, and no whole cache of all positions."""
    cache = min((math.prod(typed.shape) for typed in function.states.values()), default=math.inf)
    return {
        typed.name: typed.name
        for operation in function.operations
        for typed in operation.outputs
        if typed.dtype in ("float16", "float32") and math.prod(typed.shape) < cache
    }
