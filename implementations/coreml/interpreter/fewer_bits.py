"""Weights that a program has in fewer bits: which they are, and whether they are a checkpoint's, rounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implementations.coreml.interpreter.inputs import Given
from implementations.coreml.interpreter.run import held
from implementations.coreml.interpreter.untrusted import told_of
from implementations.coreml.interpreter.weights import OPERATIONS, blocks
from implementations.coreml.package.compiled import read_package
from implementations.coreml.package.program import Operation

ENDS = ("_palettized", "_quantized", "_to_fp16")
"""What coremltools puts behind the name of a weight, the last first."""
SLACK = 2e-3
"""Of a matrix's largest number, by which another may be nearer: palettes and scales are rounded to float16 behind the
codes, which moves the middle of two by 5e-4, of integers by 8e-4."""
Array = NDArray[np.float64]


def fewer_bits(package: Path) -> Iterator[tuple[str, Array, int]]:
    """Weights of a package by their names in its program, less what conversion put behind them.

    Yields:
        The name, the numbers that the codes stand for ``[out, in]``, and how many rows have a palette or scale in
        common.

    Raises:
        UsageError: for a package that cannot be read, or whose codes, palettes or scales are not there or do not fit.
    """
    function, *_ = read_package(package).values()
    for operation in function.operations:
        if operation.kind in OPERATIONS:
            with told_of(package.name, operation):
                values, rows = _numbers(operation, function.constants)
            name = operation.outputs[0].name
            for end in ENDS:
                name = name.removesuffix(end)
            yield name, values, rows


def _numbers(operation: Operation, constants: Mapping[str, Any]) -> tuple[Array, int]:
    given = Given({name: held(constants[values[0]]) for name, values in operation.inputs.items()})
    values = OPERATIONS[operation.kind](given).numpy()
    rows, rest = divmod(len(values), blocks(given))
    if rest or not values.size:
        raise ValueError(f"a palette or scale for each of {rows} rows of {[*values.shape]}")
    if operation.outputs[0].dtype == "float16":
        values = values.astype(np.float16)
    return values.reshape(len(values), -1).astype(np.float64), rows


def believed(found: Array, stored: Array, rows: int) -> Array:
    """The weight that is true: `found` where some rows of it are `stored` rounded, else `stored` itself.

    Args:
        found: numbers that a package's codes stand for, ``[out, in]``.
        stored: the checkpoint's.
        rows: how many have a palette or scale in common.
    """
    blocks = [slice(first, first + rows) for first in range(0, len(found), rows)]
    return np.concatenate([found[at] if _is_rounded(found[at], stored[at]) else stored[at] for at in blocks])


def _is_rounded(found: Array, stored: Array) -> bool:
    """Whether each number is the nearest of those that there are; where an entry is wrong, others' are nearer."""
    entries = np.unique(found)
    nearest = entries[np.searchsorted((entries[1:] + entries[:-1]) / 2, stored)]
    return bool((np.abs(found - stored) <= np.abs(nearest - stored) + SLACK * np.abs(entries).max()).all())
