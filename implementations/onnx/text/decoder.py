"""The decoder: embeddings and keys of earlier chunks in, logits and keys out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from implementations.gemma3n.config import TextConfig
from implementations.gemma3n.rope import SLIDING
from implementations.onnx.operations.layers import RMSNorm, linear
from implementations.onnx.text.altup import StreamProjections
from implementations.onnx.text.attention import KeysValues, Tables
from implementations.onnx.text.layer import DecoderLayer
from parity.tap import Tap


class Decoder(nn.Module):
    """The language model behind its embedding tables, up to the logits.

    A row is padded on the left, which its positions say: they count from the first real token, those before are
    negative, and no key at a negative position is seen. So the graph needs no mask as an input.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        hidden, ple, layers = config.hidden_size, config.hidden_size_per_layer_input, config.num_hidden_layers
        self.per_layer_model_projection = linear(hidden, layers * ple)
        self.per_layer_projection_norm = RMSNorm(ple, config.rms_norm_eps)
        self.altup_projections = StreamProjections(config)
        self.altup_unembed_projections = StreamProjections(config)
        self.layers = nn.ModuleList(DecoderLayer(config, layer) for layer in range(layers))
        self.norm = RMSNorm(hidden, config.rms_norm_eps)
        self.lm_head = linear(hidden, config.vocab_size)
        self._config = config
        self._kinds = sorted(set(config.layer_types))
        for kind in self._kinds:
            frequencies = torch.from_numpy(config.ropes[kind].inverse_frequencies(config.head_dim))
            self.register_buffer(f"{kind}_inv_freq", frequencies, persistent=False)

    def forward(
        self, inputs_embeds: Tensor, per_layer_inputs: Tensor, position_ids: Tensor, *past: Tensor, tap: Tap
    ) -> tuple[Tensor, ...]:
        """Run a chunk.

        Args:
            inputs_embeds: embeddings of all modalities, ``[batch, token, hidden]``.
            per_layer_inputs: token term of the per-layer inputs, ``[batch, token, layer, ple]``.
            position_ids: ``[batch, token]``, int64, one after the other in each row.
            past: keys and values of each layer that owns them, ``[batch, kv_head, past, head_dim]``; those of sliding
                layers may be cut to what their windows still see.
            tap: where steps go.

        Returns:
            Logits ``[batch, token, vocabulary]``, then keys and values as `past` has them, with the chunk's.
        """
        embedded = tap("inputs_embeds", inputs_embeds)
        per_layer = self._project_per_layer(embedded, per_layer_inputs, tap.into("per_layer_inputs"))
        held = [KeysValues(*past[at : at + 2]) for at in range(0, len(past), 2)]
        positions = tap("position_ids", position_ids)
        masks = self._masks(positions, held, tap)
        streams = self._to_streams(embedded, tap.into("altup.embed"))
        tables = {kind: Tables(*self._rotary(positions, kind, tap), masks[kind]) for kind in self._kinds}
        seen: list[KeysValues] = []
        for index, layer in enumerate(self.layers):
            kind, donor = self._config.layer_types[index], self._config.donor(index)
            given = held[index] if donor == index else seen[donor]
            streams, shown = layer(
                streams, per_layer[:, :, index], tables[kind], given, tap=tap.into(f"layers.{index}")
            )
            seen.append(shown)
        states = tap("norm", self.norm(self._from_streams(streams, tap.into("altup.unembed"))))
        return (self._logits(states, tap), *(tensor for pair in seen[: len(held)] for tensor in pair))

    def _project_per_layer(self, embedded: Tensor, token_term: Tensor, tap: Tap) -> Tensor:
        """Per-layer inputs, ``[batch, token, layer, ple]``."""
        scaled = self.per_layer_model_projection(embedded) * self._config.hidden_size**-0.5
        projected = tap("projection", scaled.unflatten(-1, (-1, self._config.hidden_size_per_layer_input)))
        normed = tap("projection_norm", self.per_layer_projection_norm(projected))
        return tap("out", (normed + token_term) * 2.0**-0.5)

    def _masks(self, positions: Tensor, held: list[KeysValues], tap: Tap) -> dict[str, Tensor]:
        """By layer type, which keys a query sees; layers of one type have as much past as the first of them."""
        masks = {}
        for kind in self._kinds:
            past = held[self._config.layer_types.index(kind)].keys.shape[2]
            window = self._config.sliding_window if kind == SLIDING else None
            masks[kind] = tap(f"mask.{kind}", visible(positions, past, window))
        return masks

    def _rotary(self, positions: Tensor, kind: str, tap: Tap) -> tuple[Tensor, Tensor]:
        """Cosines and sines of a layer type, each ``[batch, token, 1, head_dim]``."""
        frequencies = tap(f"rope.{kind}.inv_freq", self.get_buffer(f"{kind}_inv_freq"))
        angles = (positions.unsqueeze(-1) * frequencies).unsqueeze(2)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()

    def _to_streams(self, embedded: Tensor, tap: Tap) -> Tensor:
        """The embedding and its rescaled projections, ``[stream, batch, token, hidden]``."""
        sources = [embedded] * len(self.altup_projections)
        return tap("out", torch.stack([embedded, *self.altup_projections(embedded, sources, tap=tap)]))

    def _from_streams(self, streams: Tensor, tap: Tap) -> Tensor:
        """Mean of stream 0 and the rescaled projections of the others, ``[batch, token, hidden]``."""
        first, *others = streams.unbind()
        return tap("out", torch.stack([first, *self.altup_unembed_projections(first, others, tap=tap)]).mean(dim=0))

    def _logits(self, states: Tensor, tap: Tap) -> Tensor:
        """Soft-capped logits (arXiv 2408.00118)."""
        logits, cap = tap("lm_head", self.lm_head(states)), self._config.final_logit_softcapping
        return tap("logits", logits if cap is None else torch.tanh(logits / cap) * cap)


def visible(positions: Tensor, past: int, window: int | None) -> Tensor:
    """Mask of attention: a query at i sees keys at j with ``i - window < j <= i`` that are real tokens.

    A padding token sees itself too, for a row without any key would be NaN, which spreads to every query (0 x NaN).

    Args:
        positions: of the queries, ``[batch, token]``; the keys' go on from the past to these without a gap.
        past: keys before the chunk.
        window: positions that a query sees, its own included; None for all.

    Returns:
        ``[batch, token, past + token]``, bool, True = visible.
    """
    count = past + positions.shape[1]
    key = (positions[:, :1] - past + torch.arange(count, device=positions.device)).unsqueeze(1)
    query = positions.unsqueeze(2)
    mask = (key <= query) & ((key >= 0) | (key == query))
    return mask if window is None else mask & (key > query - window)
