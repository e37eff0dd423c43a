"""Feed-forward with a gated unit whose gate is sparsified in the first layers (arXiv 2002.05202, 2506.06644)."""

from __future__ import annotations

from statistics import NormalDist

import torch
from torch import Tensor, nn

from implementations.gemma3n.config import TextConfig
from implementations.onnx.operations.layers import gelu, linear, mean_square
from parity.tap import Tap


class MLP(nn.Module):
    """``down(gelu(gate(x)) * up(x))``.

    In sparse layers the gate is cut at ``mean + std * quantile(sparsity)`` over its channels, a bound that the share
    `sparsity` of normally distributed channels does not reach. The quantile is a constant of the graph.
    """

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        hidden, width = config.hidden_size, config.intermediate_size[layer]
        self.gate_proj = linear(hidden, width)
        self.up_proj = linear(hidden, width)
        self.down_proj = linear(width, hidden)
        sparsity = config.activation_sparsity_pattern[layer]
        self._quantile = NormalDist().inv_cdf(sparsity) if sparsity > 0 else None

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[batch, token, hidden]``; same shape."""
        gate = tap("gate_proj", self.gate_proj(x))
        if self._quantile is not None:
            gate = self._sparsify(gate, self._quantile, tap)
        activations = tap("activations", gelu(gate))
        up = tap("up_proj", self.up_proj(x))
        product = tap("product", activations * up)
        return tap("down_proj", self.down_proj(product))

    @staticmethod
    def _sparsify(gate: Tensor, quantile: float, tap: Tap) -> Tensor:
        """``relu(gate - cutoff)`` of ``[batch, token, intermediate]``; the deviation is the population's."""
        mean = gate.mean(dim=-1, keepdim=True)
        spread = torch.sqrt(mean_square(gate - mean))
        mean, spread = tap("gate_mean", mean), tap("gate_std", spread)
        cutoff = tap("cutoff", mean + spread * quantile)
        return tap("gate_sparse", torch.relu(gate - cutoff))
