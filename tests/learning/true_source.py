"""A layer in NumPy, as a reference writes it down: heads of queries and keys, a norm, a gate."""

from __future__ import annotations

import functools

import numpy as np


def normed(x, gain):
    """Root mean square."""
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * gain


def scores(queries, keys):
    """What each token sees of each."""
    raw = np.einsum("bhqd,bhkd->bhqk", queries, keys)
    weights = np.exp(raw - raw.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def untold(function):
    """A decorator that does not say what it wraps."""

    def wrapper(*given, **named):
        return function(*given, **named)

    return wrapper


class Layer:
    """One layer; `weights` are by name."""

    def __init__(self, weights, heads):
        self.weights, self.heads = weights, heads

    def split(self, x):
        """Heads before tokens."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(0, 2, 1, 3)

    @untold
    def forward(self, x, scale: float = 1.0):
        """Residual attention and a gated product."""
        low = normed(x, self.weights["gain"])
        queries, keys, values = (self.split(low @ self.weights[name]) for name in ("q", "k", "v"))
        seen = np.einsum("bhqk,bhkd->bhqd", scores(queries * scale, keys), values)
        merged = seen.transpose(0, 2, 1, 3).reshape(x.shape)
        x = x + merged
        x += np.tanh(x @ self.weights["gate"]) @ self.weights["out"]
        return x


class Model:
    """Two layers."""

    def __init__(self, layers):
        self.layers = layers

    def forward(self, x):
        """One after the other; the halves of the result in a dictionary, by an expression with a lambda."""
        x = functools.reduce(lambda value, layer: layer.forward(value), self.layers, x)
        return {"parts": [part * 2.0 for part in np.split(x, 2, axis=-1)], "last": x}
