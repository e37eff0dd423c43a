"""One decoder layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from implementations.gemma3n.config import TextConfig
from implementations.onnx.operations.layers import RMSNorm, gelu, linear
from implementations.onnx.text.altup import AltUp
from implementations.onnx.text.attention import Attention, KeysValues, Tables
from implementations.onnx.text.laurel import Laurel
from implementations.onnx.text.mlp import MLP
from parity.tap import Tap


class DecoderLayer(nn.Module):
    """Attention and Laurel side by side, feed-forward, AltUp around both, and the per-layer embedding behind."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        hidden, ple, eps = config.hidden_size, config.hidden_size_per_layer_input, config.rms_norm_eps
        self.self_attn = Attention(config, layer)
        self.mlp = MLP(config, layer)
        self.altup = AltUp(config)
        self.laurel = Laurel(config)
        self.input_layernorm = RMSNorm(hidden, eps)
        self.post_attention_layernorm = RMSNorm(hidden, eps)
        self.pre_feedforward_layernorm = RMSNorm(hidden, eps)
        self.post_feedforward_layernorm = RMSNorm(hidden, eps)
        self.per_layer_input_gate = linear(hidden, ple)
        self.per_layer_projection = linear(ple, hidden)
        self.post_per_layer_input_norm = RMSNorm(hidden, eps)
        self._active, self._scaled = config.altup_active_idx, config.altup_correct_scale

    def forward(
        self, streams: Tensor, per_layer_input: Tensor, tables: Tables, held: KeysValues, *, tap: Tap
    ) -> tuple[Tensor, KeysValues]:
        """Run the layer.

        Args:
            streams: ``[stream, batch, token, hidden]``.
            per_layer_input: this layer's, ``[batch, token, ple]``.
            tables: of the layer's type.
            held: what `Attention.forward` takes.
            tap: where steps go.

        Returns:
            The streams behind the layer, and the keys and values that its queries saw.
        """
        predictions = self.altup.predict(streams, tap=tap.into("altup.predict"))
        active = predictions[self._active]
        attended, seen = self._attention(active, tables, held, tap)
        activated = self._feed_forward(attended, tap)
        corrected = self.altup.correct(predictions, active, activated, tap=tap.into("altup.correct"))
        return tap("out", self._add_per_layer(corrected, per_layer_input, tap)), seen

    def _attention(self, active: Tensor, tables: Tables, held: KeysValues, tap: Tap) -> tuple[Tensor, KeysValues]:
        """Attention and Laurel on the same normed input, averaged to keep the variance: ``(a + b) / sqrt(2)``."""
        normed = tap("input_layernorm", self.input_layernorm(active))
        laurel = self.laurel(normed, tap=tap.into("laurel"))
        attended, seen = self.self_attn(normed, tables, held, tap=tap.into("attn"))
        attended = tap("post_attention_layernorm", self.post_attention_layernorm(attended))
        gated = tap("attn_gated", active + attended)
        return tap("attn_laurel", (gated + laurel) / math.sqrt(2)), seen

    def _feed_forward(self, x: Tensor, tap: Tap) -> Tensor:
        normed = tap("pre_feedforward_layernorm", self.pre_feedforward_layernorm(x))
        fed = self.mlp(normed, tap=tap.into("mlp"))
        fed = tap("post_feedforward_layernorm", self.post_feedforward_layernorm(fed))
        return tap("activated", x + fed)

    def _add_per_layer(self, corrected: Tensor, per_layer_input: Tensor, tap: Tap) -> Tensor:
        """Add the gated per-layer embedding to every stream but the first, whichever is active."""
        x = corrected[self._active]
        if self._scaled:
            x = tap("altup.correct.scaled", x * self.altup.correct_output_scale)
        gate = tap("per_layer_input_gate", self.per_layer_input_gate(x))
        activation = tap("per_layer_activation", gelu(gate))
        gated = tap("per_layer_gated", activation * per_layer_input)
        projected = tap("per_layer_projection", self.per_layer_projection(gated))
        normed = tap("post_per_layer_input_norm", self.post_per_layer_input_norm(projected))
        return torch.cat((corrected[:1], corrected[1:] + normed), dim=0)
