"""A graph's matrices in 4 bits, or matrices and tables in 8."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
from onnx import GraphProto, ModelProto

from parity.scratch import scratch

BLOCK = 32
"""Numbers that have a scale in common."""
KEPT = ("embed_vision.", "embed_audio.")
"""What names of weights begin with that stay: a table of ids' embeddings is computed of the matrix by which soft tokens
are multiplied, so that no reference could have both rounded."""
DATA = "tensors"


def of_four_bits(model: ModelProto) -> ModelProto:
    """The graph with each product with a constant matrix as one with 4 bits, in blocks along the sum.

    Args:
        model: with its tensors, in float32 or float16; changed.
    """
    with _silent():
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        quantizer = MatMulNBitsQuantizer(
            model,
            block_size=BLOCK,
            is_symmetric=True,
            op_types_to_quantize=("MatMul",),
            nodes_to_exclude=list(_kept(model.graph)),
        )
        quantizer.process()
    found: ModelProto = quantizer.model.model
    return found


def of_eight_bits(model: ModelProto, kinds: tuple[str, ...], *, signed: bool) -> ModelProto:
    """The graph with each constant matrix, or table, in 8 bits, with one scale for all of it.

    A product takes its other factor in 8 bits too, with a scale for what it is at the time.

    Args:
        model: with its tensors.
        kinds: of operators that are quantised: ``MatMul``, and ``Gather`` for tables.
        signed: whether the bits have a sign.
    """
    with _silent(), scratch() as folder:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        before, behind = folder / "before.onnx", folder / "behind.onnx"
        onnx.save(model, before, save_as_external_data=True, location=DATA)
        quantize_dynamic(
            before,
            behind,
            op_types_to_quantize=[*kinds],
            weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            nodes_to_exclude=list(_kept(model.graph)),
            use_external_data_format=True,
        )
        return onnx.load(behind)


def _kept(graph: GraphProto) -> Iterator[str]:
    """Names of the nodes whose weights stay as they are."""
    return (node.name for node in graph.node if any(name.startswith(KEPT) for name in node.input))


@contextmanager
def _silent() -> Iterator[None]:
    """Without the lines that the quantisers log of every node; importing one sets a handler up for all programs."""
    root, level = logging.root, logging.root.manager.disable
    handlers = [*root.handlers]
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
        root.handlers[:] = handlers
