"""Weights in MLX's affine quantisation: ``scale * code + bias``, a scale and a bias for each group of a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.checkpoint import config_of
from parity.errors import UsageError
from parity.weights.names import bare
from parity.weights.written import ALL, Rows, Stored, Written

AFFINE = "affine"
PARTS = (".scales", ".biases")
"""What a quantised matrix has besides its codes."""
BITS = (2, 3, 4, 5, 6, 8)
ROWS = 4096
"""Rows that are unpacked at a time: each of their bits takes a byte meanwhile."""


@dataclass(frozen=True)
class Quantized:
    """A matrix whose rows hold codes of a few bits, packed from the lowest bit of a word on.

    Attributes:
        codes: ``[row, word]``, uint32.
        scales: ``[row, group]``.
        biases: ``[row, group]``.
        bits: of a code.
        group: codes that have a scale in common.
    """

    codes: Written
    scales: Written
    biases: Written
    bits: int
    group: int

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the numbers."""
        rows, groups = self.scales.shape
        return rows, groups * self.group

    def read(self, rows: Rows = ALL) -> NDArray[np.float64]:
        """The numbers, in float64, which holds them exactly."""
        codes = self.codes.read(rows)
        scales, biases = (part.read(rows).astype(np.float64)[..., None] for part in (self.scales, self.biases))
        blocks = (slice(first, first + ROWS) for first in range(0, len(codes), ROWS))
        parts = [self._codes(codes[block]) * scales[block] + biases[block] for block in blocks]
        return np.concatenate(parts).reshape(len(codes), -1)

    def _codes(self, packed: NDArray[np.uint32]) -> NDArray[np.int64]:
        """``[row, group, code]``."""
        rows = len(packed)
        bits = np.unpackbits(packed.astype("<u4").view(np.uint8), axis=1, bitorder="little")
        codes: NDArray[np.int64] = bits.reshape(rows, -1, self.bits) @ (1 << np.arange(self.bits))
        return codes.reshape(rows, -1, self.group)


def unpacked(checkpoint: Path, tensors: Mapping[str, Written], settings: Mapping[str, Any]) -> dict[str, Stored]:
    """Tensors of a checkpoint by their bare names, those that are quantised as one each.

    Args:
        checkpoint: its folder, for messages.
        tensors: as they are written.
        settings: of all layers, and of single ones by their bare names.

    Raises:
        UsageError: for codes that do not fit what the settings say.
    """
    matrices = dict(_quantized(checkpoint, tensors, settings))
    parts = {name.removesuffix(".weight") + part for name in matrices for part in PARTS}
    whole = {name: tensor for name, tensor in tensors.items() if name not in parts}
    return {**whole, **matrices}


def _quantized(
    checkpoint: Path, tensors: Mapping[str, Written], settings: Mapping[str, Any]
) -> Iterator[tuple[str, Quantized]]:
    for name, scales in tensors.items():
        layer, _, part = name.rpartition(".")
        if part == "scales":
            yield f"{layer}.weight", _matrix(checkpoint, layer, scales, tensors, settings)


def settings_of(checkpoint: Path) -> Mapping[str, Any]:
    """What config.json says of all layers, and of single ones by their bare names; empty where nothing is quantised.

    Raises:
        UsageError: for a quantisation that is not read.
    """
    config = config_of(checkpoint)
    found = config.get("quantization") or config.get("quantization_config") or {}
    how = found.get("quant_method", found.get("mode", AFFINE)) if isinstance(found, dict) else found
    if how != AFFINE:
        raise UsageError(
            f"checkpoint {checkpoint} is quantised by {how}; of quantised ones only MLX's affine are read: "
            "give the checkpoint that it was made of"
        )
    return {bare(name): value for name, value in found.items()}


def _matrix(
    checkpoint: Path, layer: str, scales: Written, tensors: Mapping[str, Written], settings: Mapping[str, Any]
) -> Quantized:
    codes, biases = (tensors.get(f"{layer}.{part}") for part in ("weight", "biases"))
    own = settings.get(layer)
    of_layer = own if isinstance(own, dict) else settings
    bits, group = of_layer.get("bits"), of_layer.get("group_size")
    if codes is None or biases is None or not (type(bits) is type(group) is int):
        missing = (
            "config.json says no bits and group_size of" if codes and biases else "there are no codes or biases of"
        )
        raise UsageError(f"checkpoint {checkpoint}: {missing} {layer}.scales, which MLX's affine quantisation has")
    words, left = divmod(group * bits * scales.shape[-1], 32) if len(scales.shape) == 2 else (0, 0)
    fits = (
        words and not left and codes.shape == (scales.shape[0], words) and biases.shape == scales.shape and bits in BITS
    )
    if not fits or of_layer.get("mode", AFFINE) != AFFINE:
        packed = f"{list(codes.shape)} words and {list(scales.shape)} scales"
        raise UsageError(f"checkpoint {checkpoint}: {layer} has {packed}; not {bits} bits in groups of {group}")
    return Quantized(codes, scales, biases, bits, group)
