"""Weights that a runtime computes with in place of a checkpoint's: a file beside it, which all its readers look into.

So a quantised port is held to a reference of the very numbers that its codes stand for, and what it errs is its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from parity.checkpoint import OVERLAY, require_whole
from parity.errors import UsageError
from parity.weights.names import bare
from parity.weights.quantized import unpacked
from parity.weights.written import ALL, METADATA, Rows, Stored, tensors_of

SETTINGS = "quantization"
"""Where the file's metadata says bits and group of each quantised matrix."""
WORD = 32
"""Bits that codes are packed in."""


@dataclass(frozen=True)
class Codes:
    """A matrix as a runtime holds it: ``scale * (code - zero)``, a scale and a zero for each group of a row.

    Attributes:
        codes: ``[row, column]``, uint8.
        scales: ``[row, group]``, float.
        zeros: ``[row, group]``.
        bits: of a code.
        group: codes that have a scale in common; the last group of a row may have fewer.
    """

    codes: NDArray[np.uint8]
    scales: NDArray[Any]
    zeros: NDArray[Any]
    bits: int
    group: int

    def values(self, rows: Rows = ALL) -> NDArray[np.float64]:
        """The numbers of some rows, exactly."""
        scales, zeros = self.along(self.scales, rows), self.along(self.zeros, rows)
        return (self.codes[rows] - zeros) * scales

    def along(self, parts: NDArray[Any], rows: Rows = ALL) -> NDArray[np.float64]:
        """What each group has, ``[row, group]``, for each column."""
        return parts[rows].astype(np.float64).repeat(self.group, axis=1)[:, : self.codes.shape[1]]

    @property
    def packs(self) -> bool:
        """Whether rows are whole words and whole groups, as files have them."""
        columns = self.codes.shape[1]
        return bool(columns * self.bits % WORD == 0 and self.group * self.scales.shape[1] == columns)


def write_overlay(file: Path, weights: Mapping[str, Codes | NDArray[Any]]) -> None:
    """Write weights by the bare names of the checkpoint's tensors that they stand in place of."""
    tensors: dict[str, NDArray[Any]] = {}
    settings = {}
    for name, weight in weights.items():
        layer = name.removesuffix(".weight")
        if not isinstance(weight, Codes):
            tensors[name] = np.ascontiguousarray(weight)
        elif weight.packs:
            settings[layer] = {"bits": weight.bits, "group_size": weight.group}
            tensors |= {f"{layer}.{part}": array for part, array in _parts(weight).items()}
        else:
            tensors[name] = weight.values()
    save_file(tensors, file, {SETTINGS: json.dumps(settings)})


def overlaid(checkpoint: Path) -> dict[str, Stored]:
    """The weights in the file beside a checkpoint, by their bare names; none where there is no file.

    Raises:
        UsageError: for a file that is damaged.
    """
    file = checkpoint / OVERLAY
    if not file.is_file():
        return {}
    try:
        settings = json.loads(require_whole(file)[METADATA][SETTINGS])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"checkpoint file {file} says no {SETTINGS}; write it again") from error
    return unpacked(checkpoint, {bare(tensor.name): tensor for tensor in tensors_of(file)}, settings)


def _parts(weight: Codes) -> dict[str, NDArray[Any]]:
    """What MLX's affine quantisation has of a matrix: ``scale * code + bias``."""
    scales = weight.scales
    biases = -scales.astype(np.float64) * weight.zeros
    bits = np.unpackbits(weight.codes[..., None], axis=-1, bitorder="little")[..., : weight.bits]
    packed = np.packbits(bits.reshape(len(bits), -1), axis=1, bitorder="little")
    return {"weight": packed.view("<u4"), "scales": np.ascontiguousarray(scales), "biases": biases}
