"""The reference made to err as llama.cpp does, each deviation by its name in the catalogue of known bugs."""

from __future__ import annotations

import numpy as np

from implementations.gguf import Backend
from implementations.gguf.deviations import DEVIATIONS
from implementations.gguf.engine.tensors import Value
from parity.fault import Inputs
from parity.placing import EVERYWHERE
from parity.tap import ScopedTap
from reference.gemma3n.huggingface import Reference
from tests.harness import Harness

DENSE_LAYER = 12


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


def deviating(harness: Harness, dtype: str, media: tuple[str, ...] = ()) -> Reference:
    """The reference in an arithmetic, with all that an audit has of llama.cpp's deviations, in every place.

    What else differs would be a fault that nobody knows.
    """
    reference = Reference.load(harness.checkpoint, dtype)
    inputs = Inputs("one-shot", media)
    reference.vary([(name, EVERYWHERE) for deviation in DEVIATIONS for name in deviation.alike(inputs)])
    return reference
