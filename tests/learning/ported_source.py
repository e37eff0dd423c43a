"""The same layer as a port has it: tokens before heads, products merged, other names."""

from __future__ import annotations

import numpy as np


class Block:
    """One layer."""

    def __init__(self, weights, heads):
        self.weights, self.heads = weights, heads

    def __call__(self, h):
        """Attention and gate, each added."""
        h = h + self.attend(self.norm(h))
        inner = np.tanh(h @ self.weights["gate"])
        return h + inner @ self.weights["out"]

    def norm(self, h):
        """Root mean square, by a reciprocal."""
        return h * (1 / np.sqrt((h * h).mean(-1, keepdims=True) + np.float32(1e-6))) * self.weights["gain"]

    def attend(self, h):
        """Tokens stay before heads."""
        q, k, v = (
            (h @ self.weights[name]).reshape(*h.shape[:2], self.heads, -1).astype(h.dtype) for name in ("q", "k", "v")
        )
        raw = np.einsum("bqhd,bkhd->bqhk", q, k)
        raw = np.exp(raw - raw.max(-1, keepdims=True))
        return np.einsum("bqhk,bkhd->bqhd", raw / raw.sum(-1, keepdims=True), v).reshape(h.shape)


class Net:
    """Two layers."""

    def __init__(self, blocks):
        self.blocks = blocks

    def __call__(self, h):
        """One after the other."""
        for block in self.blocks:
            h = block(h)
        return h
