"""The toy pair of sources, run with a tap behind every value."""

from __future__ import annotations

import numpy as np

from parity.learning.everywhere import weave_everywhere
from parity.learning.listening import Listener
from tests.learning import ported_source, true_source

BATCH, TOKENS, HEADS, HEAD_DIM, WIDE = 2, 5, 3, 4, 14
HIDDEN = HEADS * HEAD_DIM
SIZES = {"batch": BATCH, "token": TOKENS, "hidden": HIDDEN, "head": HEADS, "head_dim": HEAD_DIM, "wide": WIDE}


def weights(seed, dtype):
    """Of one layer."""
    draw = np.random.default_rng(seed)
    shapes = dict.fromkeys("qkv", (HIDDEN, HIDDEN)) | {"gate": (HIDDEN, WIDE), "out": (WIDE, HIDDEN)}
    found = {name: draw.normal(size=shape) * shape[0] ** -0.5 for name, shape in shapes.items()}
    return {name: value.astype(dtype) for name, value in {**found, "gain": 1 + 0.2 * draw.normal(size=HIDDEN)}.items()}


def inputs(seed, dtype, tokens=TOKENS):
    """What both are given."""
    return np.random.default_rng(100 + seed).normal(size=(BATCH, tokens, HIDDEN)).astype(dtype)


def is_array(value):
    """Whether a value is a tensor here."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def reference(dtype="float64"):
    """The model, and the paths of its modules."""
    layers = [true_source.Layer(weights(seed, dtype), HEADS) for seed in range(2)]
    model = true_source.Model(layers)
    return model, {id(model): ""} | {id(layer): f"layers.{at}" for at, layer in enumerate(layers)}


def port():
    """The port, and the paths of its modules."""
    blocks = [ported_source.Block(weights(seed, "float32"), HEADS) for seed in range(2)]
    net = ported_source.Net(blocks)
    return net, {id(net): ""} | {id(block): f"blocks.{at}" for at, block in enumerate(blocks)}


def run(source, side, given, hear=lambda place, value: value, edits=()):
    """Run one side; returns its result, and what was heard as (place, copy)."""
    said, (model, paths) = [], side

    def heard(place, value):
        said.append((place, value.copy()))
        return hear(place, value)

    listener = Listener(paths, is_array, heard)
    with weave_everywhere([source], listener, edits) as missing:
        result = (model.forward if source is true_source else model)(given)
    return result, said, missing
