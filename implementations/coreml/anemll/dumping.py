"""Every value of a conversation with such a folder, as files that `parity diff` pairs with the reference's steps."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor

from implementations.ane.engine.rounding import round_half
from implementations.coreml.anemll.conversation import INFER, LOGITS, Conversation
from implementations.coreml.anemll.folder import Folder
from implementations.coreml.package.program import Function
from parity.errors import UsageError
from parity.tap import ScopedTap
from parity.traces.trace import Trace


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

    Args:
        folder: with its packages.
        tokens: of one sequence.
        function: `infer`, whose values of each token lie one behind the other in a new first axis; or `prefill`, whose
            values are of a whole batch, and which has no logits.
        output: an empty folder.
        told: called behind each call.

    Raises:
        UsageError: for a package that cannot be run, or tokens that do not fit it.
    """
    values: dict[str, list[Tensor]] = defaultdict(list)

    def keep(name: str, value: Tensor) -> Tensor:
        values[name].append(value.clone())
        return value

    for found in Conversation(folder, round_half, function, shown).run(tokens, ScopedTap(keep)):
        told()
        if function == INFER:
            keep(f"{LOGITS}.{LOGITS}", found)
    parts: dict[str, dict[str, NDArray[np.float32]]] = defaultdict(dict)
    for name, calls in values.items():
        package, _, value = name.rpartition(".")
        parts[package][value] = torch.stack(calls).numpy()
    for package, arrays in parts.items():
        save_file(arrays, output / f"{package}.safetensors")


def shown(function: Function) -> Mapping[str, str]:
    """Which values of a function are written: floating-point numbers, and no whole cache of all positions."""
    cache = min((math.prod(typed.shape) for typed in function.states.values()), default=math.inf)
    return {
        typed.name: typed.name
        for operation in function.operations
        for typed in operation.outputs
        if typed.dtype in ("float16", "float32") and math.prod(typed.shape) < cache
    }
