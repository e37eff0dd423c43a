"""The reference made to err as llama.cpp does, each deviation by its name in the catalogue of known bugs."""

from __future__ import annotations

import numpy as np

from implementations.gguf import Backend
from implementations.gguf.engine.tensors import Value
from parity.tap import ScopedTap
from reference.gemma3n.huggingface import Reference
from tests.harness import Harness

LAYERS, SPARSE = range(25), range(10)
DENSE_LAYER = 12
DEVIATIONS = (
    *(("sparsity-sample-std", str(layer)) for layer in SPARSE),
    *((name, str(layer)) for name in ("mlp-gate-half-table", "ple-gate-half-table") for layer in LAYERS),
    ("ple-padding-zero", ""),
    ("hard-ids-as-text", ""),
    ("altup-magnitude-unbounded", ""),
    ("altup-unembed-unbounded", ""),
)
"""Variants and their places; what else differs would be a fault that nobody knows."""


def halves() -> np.ndarray:
    """Every number of float16, in the order of its bits."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def gelu_table(backend: Backend) -> np.ndarray:
    """llama.cpp's own table, in the order of bits: what a dense layer makes of every number of float16 as its gate."""
    numbers, found = np.nan_to_num(halves()).reshape(1, 256, 256), {}

    def answer(name: str, value: Value) -> Value:
        if name == f"text.layers.{DENSE_LAYER}.mlp.gate_proj":
            return Value(numbers.copy())
        found[name] = value
        return value

    backend.begin()
    backend.forward(np.full((1, 256), 7), tap=ScopedTap(answer))
    return found[f"text.layers.{DENSE_LAYER}.mlp.activations"].array.reshape(-1)


def deviating(harness: Harness, dtype: str) -> Reference:
    """The reference in an arithmetic, with llama.cpp's deviations in every place."""
    reference = Reference.load(harness.checkpoint, dtype)
    reference.vary(DEVIATIONS)
    return reference
