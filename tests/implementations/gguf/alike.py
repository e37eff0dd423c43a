"""The reference made to err as llama.cpp does, each deviation by its name in the catalogue of known bugs."""

from __future__ import annotations

import numpy as np
import torch

from implementations.gguf import Backend
from implementations.gguf.engine.tensors import Value
from parity.tap import ScopedTap
from reference.gemma3n.huggingface import Reference
from reference.gemma3n.variants import helpers
from tests.harness import Harness

LAYERS, SPARSE = range(25), range(10)
DENSE_LAYER = 12
DEVIATIONS = (
    *(("sparsity-sample-std", str(layer)) for layer in SPARSE),
    *((name, str(layer)) for name in ("mlp-gate-half-table", "ple-gate-half-table") for layer in LAYERS),
    ("ple-padding-zero", ""),
    ("hard-ids-as-text", ""),
)
"""Variants and their places; what else differs would be a fault that nobody knows."""


def halves() -> np.ndarray:
    """Every number of float16, in the order of its bits."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def gelu_table(backend: Backend) -> np.ndarray:
    """llama.cpp's own table, in the order of bits: what a dense layer makes of every number of float16 as its gate.

    Made in float32, it is one step of float16 away from what torch computes for one number in some thousands.
    """
    numbers, found = np.nan_to_num(halves()).reshape(1, 256, 256), {}

    def answer(name: str, value: Value) -> Value:
        if name == f"text.layers.{DENSE_LAYER}.mlp.gate_proj":
            return Value(numbers.copy())
        found[name] = value
        return value

    backend.begin()
    backend.forward(np.full((1, 256), 7), tap=ScopedTap(answer))
    return found[f"text.layers.{DENSE_LAYER}.mlp.activations"].array.reshape(-1)


def read_from(table: np.ndarray):
    """`helpers.gelu_by_table` with this table."""
    values = torch.from_numpy(table)

    def gelu(x: torch.Tensor) -> torch.Tensor:
        index = x.half().view(torch.int16).long() & 0xFFFF
        return torch.where(x.abs() < 10, values[index].to(x.dtype), x.clamp(min=0))

    return gelu


def deviating(harness: Harness, dtype: str) -> Reference:
    """The reference in an arithmetic, with llama.cpp's deviations in every place."""
    reference = Reference.load(harness.checkpoint, dtype)
    reference.vary(DEVIATIONS)
    return reference


__all__ = ["deviating", "gelu_table", "halves", "helpers", "read_from"]
