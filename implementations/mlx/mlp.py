"""Feed-forward with a gated unit whose gate is sparsified in the first layers (arXiv 2002.05202, 2506.06644)."""

from __future__ import annotations

from statistics import NormalDist

import mlx.core as mx
from mlx.nn.layers.base import Module

from implementations.gemma3n.config import TextConfig
from implementations.mlx.operations.layers import Linear, gelu, mean
from parity.tap import Tap


class MLP(Module):
    """``down(gelu(gate(x)) * up(x))``.

    In sparse layers the gate is cut at ``mean + std * quantile(sparsity)`` over its channels, a bound that the share
    `sparsity` of normally distributed channels does not reach.
    """

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        hidden, width = config.hidden_size, config.intermediate_size[layer]
        self.gate_proj = Linear(hidden, width, bias=False)
        self.up_proj = Linear(hidden, width, bias=False)
        self.down_proj = Linear(width, hidden, bias=False)
        sparsity = config.activation_sparsity_pattern[layer]
        self._quantile = NormalDist().inv_cdf(sparsity) if sparsity > 0 else None

    def __call__(self, x: mx.array, *, tap: Tap) -> mx.array:
        """Run on ``[batch, token, hidden]``; same shape."""
        gate = tap("gate_proj", self.gate_proj(x))
        if self._quantile is not None:
            gate = self._sparsify(gate, self._quantile, tap)
        activations = tap("activations", gelu(gate))
        up = tap("up_proj", self.up_proj(x))
        product = tap("product", activations * up)
        return tap("down_proj", self.down_proj(product))

    @staticmethod
    def _sparsify(gate: mx.array, quantile: float, tap: Tap) -> mx.array:
        """``relu(gate - cutoff)`` of ``[batch, token, intermediate]``.

        Moments are taken in float32: in bfloat16 MLX would round every square. The standard deviation is the
        population's. The quantile is rounded to the working dtype, as the reference does.
        """
        wide = gate.astype(mx.float32)
        centre = mean(wide)
        deviation = mx.sqrt(mean(mx.square(wide - centre)))
        middle = tap("gate_mean", centre.astype(gate.dtype))
        spread = tap("gate_std", deviation.astype(gate.dtype))
        cutoff = tap("cutoff", middle + spread * quantile)
        return tap("gate_sparse", mx.maximum(gate - cutoff, 0))
