"""The weights that a quantised graph computes with: the numbers that its own codes and scales stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from implementations.onnx.export.weights import TURNED
from implementations.onnx.package.tensors import array_of
from implementations.onnx.quantization.products import NBITS
from parity.weights.overlay import Codes

OF_TABLE = "_quantized"
"""Behind the name of a matrix or table of 8 bits; scale and zero are called after it too."""
OF_BLOCKS, SCALES = "_Q4", "_scales"
"""Behind the name of a matrix of 4 bits, and of its scales."""

Held = Codes | NDArray[Any]


def held(model: ModelProto, folder: Path) -> Iterator[tuple[str, Held]]:
    """Weights of a graph that are not in float32, by their names in the one in float32, ``[out, in]`` as there.

    Args:
        model: without its large tensors.
        folder: where these are, whole.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    def read(name: str) -> NDArray[Any]:
        return array_of(tensors[name], folder)

    for node in model.graph.node:
        if node.op_type == NBITS:
            parts = [read(name) for name in node.input[1:]]
            yield plain(node.input[1].removesuffix(OF_BLOCKS)), _of_blocks(node, parts)
    for name, tensor in tensors.items():
        base = name.removesuffix(OF_TABLE)
        if base != name:
            yield plain(base), _of_table(read(name), read(f"{base}_scale"), read(f"{base}_zero_point"), base)
        elif tensor.data_type == TensorProto.FLOAT16 and not name.endswith(SCALES):
            array = read(name)
            yield plain(name), array.T if name.endswith(TURNED) else array


def plain(name: str) -> str:
    """What the checkpoint calls a weight, but for the words before it."""
    return name.removesuffix(TURNED)


def _of_blocks(node: NodeProto, parts: list[NDArray[Any]]) -> Codes:
    """A matrix of `MatMulNBits`: packed codes ``[out, block, byte]``, scales, and zeros; 8 where there are none."""
    told: Mapping[str, int] = {attribute.name: attribute.i for attribute in node.attribute}
    rows, columns, bits, block = told["N"], told["K"], told["bits"], told["block_size"]
    blocks = -(-columns // block)
    codes = _unpacked(parts[0].reshape(rows, -1), bits)[:, :columns]
    zeros = _unpacked(parts[2].reshape(rows, -1), bits)[:, :blocks] if len(parts) > 2 else None
    if zeros is None:
        zeros = np.full((rows, blocks), 1 << (bits - 1), np.uint8)
    return Codes(codes, parts[1].reshape(rows, blocks), zeros, bits, min(block, columns))


def _unpacked(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes of a few bits ``[row, code]``, the first in a byte's lowest bits."""
    each = np.unpackbits(packed, axis=1, bitorder="little").reshape(len(packed), -1, bits)
    return np.packbits(each, axis=-1, bitorder="little")[..., 0]


def _of_table(codes: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any], name: str) -> Codes:
    """A matrix ``[in, out]``, or a table ``[row, column]``, with one scale, or one for each output."""
    codes = codes.T if name.endswith(TURNED) else codes
    shift = 128 if codes.dtype == np.int8 else 0  # codes with a sign count from -128
    scales = np.broadcast_to(scale.reshape(-1, 1), (len(codes), 1))
    zeros = np.broadcast_to(zero.astype(np.int16).reshape(-1, 1) + shift, (len(codes), 1))
    return Codes((codes.astype(np.int16) + shift).astype(np.uint8), scales, zeros, 8, codes.shape[1])
