"""The weights that a package holds in fewer bits, by the checkpoint's names: those that its reference is given.

A reference with a package's weights, whatever they are, would find nothing wrong with a package whose weights are
wrong. So a palette, or a scale, is believed only where each of the checkpoint's numbers has become the nearest that
there is; else the checkpoint's own numbers are true.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from implementations.ane.decoder import piece_sizes
from implementations.ane.model import TABLE, Gemma3n, checkpoint_name
from implementations.ane.scaling import DIVIDED
from implementations.coreml.interpreter.inputs import Given
from implementations.coreml.interpreter.run import held
from implementations.coreml.interpreter.weights import OPERATIONS
from implementations.coreml.package.folder import HEAD, Package
from implementations.coreml.package.program import Function, Operation, read_program
from implementations.gemma3n.config import Config
from implementations.gemma3n.weight_names import PUBLISHED, has_head
from parity.errors import UsageError
from parity.weights.names import HEAD as LM_HEAD
from parity.weights.names import bare
from parity.weights.stored import stored

ENDS = ("_palettized", "_quantized", "_to_fp16")
"""What coremltools puts behind the name of a weight, the last first."""
SLACK = 2e-3
"""Of a matrix's largest number, by which another may be nearer: palettes and scales are rounded to float16 behind the
codes, which moves the middle of two by 5e-4, of integers by 8e-4."""
OF_HEAD = re.compile(r"model_head_pieces_(\d+)_weight")
"""What a program calls a piece of the head."""
Array = NDArray[np.float64]


def true_weights(package: Package, checkpoint: Path, config: Config) -> dict[str, Array]:
    """Weights in fewer bits, by the bare names of the checkpoint's tensors that they stand in place of.

    Raises:
        UsageError: for a package that cannot be read, or a checkpoint that is not of its model.
    """
    originals = _Originals(checkpoint, config, package.settings.alpha)
    found: dict[str, Array] = {}
    pieces: dict[int, Array] = {}
    for name in (*package.decoder, HEAD):
        function, *_ = read_program(package.file(name)).values()
        for weight, values, rows in fewer_bits(function):
            source, piece, factor = originals.source(weight, package)
            own = originals.read(source, piece, values.shape, package)
            true = believed(values, own * factor, rows) / factor
            if piece is None:
                found[bare(source)] = true
            else:
                pieces[piece] = true
    if pieces:
        whole = [pieces.get(number, originals.read(originals.head, number)) for number in range(originals.pieces)]
        found[LM_HEAD] = np.concatenate(whole)
    return found


class _Originals:
    """The checkpoint's own numbers, by what a program calls them."""

    def __init__(self, checkpoint: Path, config: Config, alpha: float) -> None:
        self._tensors, self._alpha = stored(checkpoint, PUBLISHED), alpha
        self.head = LM_HEAD if has_head(config, self._tensors) else TABLE
        sizes = piece_sizes(config.text.vocab_size)
        self.pieces, self._ends = len(sizes), [0, *accumulate(sizes)]
        with torch.device("meta"):
            model = Gemma3n(config, alpha)
        self._names = {name.replace(".", "_"): checkpoint_name(name) for name, _ in model.named_parameters()}

    def source(self, weight: str, package: Package) -> tuple[str, int | None, float]:
        """The checkpoint's tensor that a weight of a program is of, which piece of the head, and what it is scaled by.

        Raises:
            UsageError: for a weight that is none of the model's.
        """
        if (found := OF_HEAD.fullmatch(weight)) is not None:
            return self.head, int(found[1]), 1.0
        if (name := self._names.get(weight)) is None:
            raise UsageError(f"package {package.folder} has a weight {weight}, which is none of the model's")
        divided = any(fnmatchcase(name, f"*{pattern}") for pattern in DIVIDED)
        return name, None, 1 / self._alpha if divided else 1.0

    def read(
        self, name: str, piece: int | None, shape: tuple[int, ...] | None = None, package: Package | None = None
    ) -> Array:
        """A tensor ``[out, in]``, or a piece of the head.

        Raises:
            UsageError: where it has another shape than the package's.
        """
        array = self._tensors[name].read()
        array = array.reshape(len(array), -1).astype(np.float64)
        array = array if piece is None else array[self._ends[piece] : self._ends[piece + 1]]
        if shape is not None and package is not None and array.shape != shape:
            raise UsageError(
                f"package {package.folder} has {name} of {[*shape]}, the checkpoint of {[*array.shape]}; "
                "is it of this model?"
            )
        return array


def fewer_bits(function: Function) -> Iterator[tuple[str, Array, int]]:
    """Weights by their names in the program, less what conversion put behind them.

    Yields:
        The name, the numbers that the codes stand for ``[out, in]``, and how many rows have a palette or scale in
        common.
    """
    for operation in function.operations:
        if operation.kind in OPERATIONS:
            name = operation.outputs[0].name
            for end in ENDS:
                name = name.removesuffix(end)
            yield name, *_numbers(operation, function.constants)


def _numbers(operation: Operation, constants: Mapping[str, Any]) -> tuple[Array, int]:
    given = {name: held(constants[values[0]]) for name, values in operation.inputs.items()}
    values = OPERATIONS[operation.kind](Given(given)).numpy()
    rows = len(values) // len(given["lut"] if "lut" in given else given["scale"])
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
