"""The compiled parts: the decoder, from embeddings to the final norm, and the head.

Their forward passes take and give nothing but tensors of fixed shapes: what depends on token ids and positions comes
from the host, as tables, masks and caches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from implementations.ane.altup import StreamProjections, stacked, stream
from implementations.ane.attention import Shared, Tables
from implementations.ane.engine.layers import Projection, RMSNorm
from implementations.ane.engine.limits import HEAD_PIECES
from implementations.ane.layer import DecoderLayer
from implementations.gemma3n.config import TextConfig
from parity.tap import SILENT, Tap

TABLES = ("cos", "sin", "mask", "update")
"""What the host makes for each layer type; see `Tables`."""


class Decoder(nn.Module):
    """Embeddings to normed states. Parameter names are the checkpoint's, below ``model.language_model``.

    Attributes:
        inputs: names of the tensors that `forward` takes, in order.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        hidden, eps, ple = config.hidden_size, config.rms_norm_eps, config.hidden_size_per_layer_input
        self.per_layer_model_projection = Projection(hidden, config.num_hidden_layers * ple)
        self.per_layer_projection_norm = RMSNorm(ple, eps)
        self.altup_projections = StreamProjections(config, "altup.embed")
        self.altup_unembed_projections = StreamProjections(config, "altup.unembed")
        self.layers = nn.ModuleList(DecoderLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(hidden, eps)
        self._config = config
        self._kinds = kinds(config)
        self._scopes = [f"layers.{layer}" for layer in range(config.num_hidden_layers)]
        self._caches = range(config.first_shared_layer)
        self.inputs = (
            "embedded",
            "token_term",
            *(f"{table}.{kind}" for kind in self._kinds for table in TABLES),
            *(f"{cache}.{layer}" for layer in self._caches for cache in ("keys", "values")),
        )

    def forward(self, embedded: Tensor, token_term: Tensor, *tensors: Tensor, tap: Tap = SILENT) -> tuple[Tensor, ...]:
        """Run one call.

        Args:
            embedded: embeddings, ``[batch, hidden, 1, token]``.
            token_term: token term of the per-layer inputs, ``[batch, layer * ple, 1, token]``.
            tensors: for each layer type `TABLES`, then keys and values of each layer that owns them.
            tap: where steps go.

        Returns:
            Normed states ``[batch, hidden, 1, token]``, then keys and values of each layer that owns them.
        """
        count = len(TABLES) * len(self._kinds)
        caches = dict(zip(self._caches, pairs(tensors[count:]), strict=True))
        shared = Shared(sort_tables(self._kinds, tensors[:count]), caches)
        streams, per_layer = self.begin(embedded, token_term, tap=tap)
        for index in range(len(self.layers)):
            streams = self.run_layer(index, streams, per_layer[:, index], shared, tap=tap)
        return (self.end(streams, tap=tap), *(tensor for layer in self._caches for tensor in shared.caches[layer]))

    def begin(self, embedded: Tensor, token_term: Tensor, *, tap: Tap) -> tuple[Tensor, Tensor]:
        """What the first layer takes: streams, and the per-layer inputs of all, ``[batch, layer, ple, token]``."""
        per_layer = self._project_per_layer(embedded, token_term, tap.into("per_layer_inputs"))
        return self._to_streams(embedded, tap.into(self.altup_projections.scope)), per_layer

    def run_layer(self, index: int, streams: Tensor, per_layer_input: Tensor, shared: Shared, *, tap: Tap) -> Tensor:
        """The streams behind a layer, whose own per-layer input is ``[batch, ple, token]``."""
        found: Tensor = self.layers[index](
            streams, per_layer_input.unsqueeze(2), shared, tap=tap.into(self._scopes[index])
        )
        return found

    def end(self, streams: Tensor, *, tap: Tap) -> Tensor:
        """Normed states ``[batch, hidden, 1, token]`` of the streams behind the last layer."""
        merged = self._from_streams(streams, tap.into(self.altup_unembed_projections.scope))
        return tap("norm", self.norm(merged))

    def _project_per_layer(self, embedded: Tensor, token_term: Tensor, tap: Tap) -> Tensor:
        """Per-layer inputs, ``[batch, layer, ple, token]``."""
        rows, _, _, tokens = embedded.shape
        shape = (rows, self._config.num_hidden_layers, self._config.hidden_size_per_layer_input, tokens)
        projected = tap("projection", self.per_layer_model_projection(embedded) * self._config.hidden_size**-0.5)
        normed = tap("projection_norm", self.per_layer_projection_norm(projected.reshape(shape), axis=2))
        return tap("out", (normed + token_term.reshape(shape)) * 2.0**-0.5)

    def _to_streams(self, embedded: Tensor, tap: Tap) -> Tensor:
        """The embedding and its rescaled projections, ``[batch, stream, hidden, token]``."""
        projected = self.altup_projections(embedded, [embedded] * len(self.altup_projections), tap=tap)
        return tap("out", stacked([embedded, *projected]))

    def _from_streams(self, streams: Tensor, tap: Tap) -> Tensor:
        """Mean of stream 0 and the rescaled projections of the others, ``[batch, hidden, 1, token]``."""
        first, *others = (stream(streams, index) for index in range(self._config.altup_num_inputs))
        projected = self.altup_unembed_projections(first, others, tap=tap)
        return tap("out", stacked([first, *projected]).mean(dim=1).unsqueeze(2))


def sort_tables(of: Sequence[str], tensors: Sequence[Tensor]) -> dict[str, Tables]:
    """The tensors of `TABLES` by the layer types that they are of; which slots are kept follows from the update."""
    count, tables = len(TABLES), {}
    for index, kind in enumerate(of):
        cos, sin, mask, update = tensors[count * index : count * (index + 1)]
        tables[kind] = Tables(cos, sin, mask, update, 1 - update.sum(dim=3, keepdim=True))
    return tables


def pairs(tensors: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of layer after layer, two by two."""
    return [*zip(tensors[::2], tensors[1::2], strict=True)]


class Head(nn.Module):
    """Normed states to logits, in `HEAD_PIECES` convolutions; the soft-cap (arXiv 2408.00118) follows.

    Its weight is a table of its own, or a copy of the embedding's: the two live on different processors, and are scaled
    apart.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        sizes = piece_sizes(config.vocab_size)
        self.pieces = nn.ModuleList(Projection(config.hidden_size, size) for size in sizes)
        self._cap = config.final_logit_softcapping

    def forward(self, states: Tensor, *, tap: Tap = SILENT) -> Tensor:
        """Logits ``[batch, vocabulary, 1, token]`` of states ``[batch, hidden, 1, token]``."""
        logits = tap("lm_head", torch.cat([piece(states) for piece in self.pieces], dim=1))
        cap = self._cap
        return tap("logits", logits if cap is None else torch.tanh(logits / cap) * cap)


def piece_sizes(vocabulary: int) -> list[int]:
    """Ids of each convolution of the head: as equal as can be."""
    return [len(range(first, vocabulary, HEAD_PIECES)) for first in range(min(HEAD_PIECES, vocabulary))]


def kinds(config: TextConfig) -> list[str]:
    """The layer types that the model has, in the order in which the decoder takes their tables."""
    return sorted(set(config.layer_types))
