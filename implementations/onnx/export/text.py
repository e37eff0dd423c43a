"""The graphs of the language model, with the names, inputs and outputs of the package that is published.

`embed_tokens` makes embeddings of token ids. `decoder_model_merged` takes these, where pictures and sounds have put
their soft tokens in their places, with keys and values of earlier chunks, and gives logits, keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from onnx import GraphProto, ModelProto
from torch import Tensor, nn

from implementations.gemma3n.config import Config, TextConfig
from implementations.onnx.export.assembly import finished, inlined
from implementations.onnx.export.tracing import DOMAIN, Operand, traced
from implementations.onnx.package.folder import DECODER, EMBEDDER, past, present
from implementations.onnx.package.graph import Tapped
from implementations.onnx.text.attention import KeysValues, Tables
from implementations.onnx.text.decoder import Decoder
from implementations.onnx.text.embedder import Embedder
from implementations.onnx.text.layer import DecoderLayer
from parity.tap import Tap

LAYER = "Layer"
"""The operator that stands for a layer while the decoder around it is traced."""

Made = tuple[ModelProto, list[Tapped]]


def graphs(config: Config) -> Iterator[tuple[str, Made]]:
    """The name of each graph, and the graph with its steps."""
    yield EMBEDDER, embedder(config)
    yield DECODER, decoder(config.text)


def parameters(config: Config) -> set[str]:
    """Names of all weights of the graphs; no memory is allocated."""
    with torch.device("meta"):
        modules: tuple[nn.Module, ...] = (Embedder(config), Decoder(config.text))
    return {name for module in modules for name, _ in module.named_parameters()}


def embedder(config: Config) -> Made:
    """Token ids to embeddings and the token term of the per-layer inputs."""
    ids = [Operand("input_ids", ("batch", "token"), torch.int64)]
    outputs = [_embeds(config.text), _per_layer(config.text)]

    def call(body: Embedder, input_ids: Tensor, *, tap: Tap) -> tuple[Tensor, ...]:
        return body(input_ids, tap=tap)

    graph = traced(lambda: Embedder(config), call, ids, [operand.name for operand in outputs])
    return finished(graph, ids, outputs, "")


def decoder(config: TextConfig) -> Made:
    """Embeddings to logits. The layers of each kind are traced once."""
    owners = range(config.first_shared_layer)
    positions = Operand("position_ids", ("batch", "token"), torch.int64)
    shape = _cache(config, "past")
    caches = [Operand(name, shape) for layer in owners for name in past(layer)]
    inputs = [_embeds(config), _per_layer(config), positions, *caches]
    logits = Operand("logits", ("batch", "token", config.vocab_size))
    outputs = [logits, *(Operand(name, _cache(config, "key")) for layer in owners for name in present(layer))]

    def call(body: Decoder, *tensors: Tensor, tap: Tap) -> tuple[Tensor, ...]:
        return body(*tensors, tap=tap)

    graph = traced(lambda: _outlined(config), call, inputs, [operand.name for operand in outputs])
    kinds: dict[tuple[object, ...], GraphProto] = {}
    bodies = {}
    for layer in range(config.num_hidden_layers):
        kind = (config.owns_keys(layer), config.activation_sparsity_pattern[layer], config.intermediate_size[layer])
        if kind not in kinds:
            kinds[kind] = _layer(config, layer)
        bodies[layer] = f"layers.{layer}.", kinds[kind]
    inlined(graph, LAYER, bodies)
    return finished(graph, inputs, outputs, "text.")


def _layer(config: TextConfig, layer: int) -> GraphProto:
    rows, hidden = ("batch", "token"), config.hidden_size
    held = _cache(config, "past" if config.owns_keys(layer) else "key")
    inputs = [
        Operand("streams", (config.altup_num_inputs, *rows, hidden)),
        Operand("per_layer_input", (*rows, config.hidden_size_per_layer_input)),
        *(Operand(name, (*rows, 1, config.head_dim)) for name in ("cos", "sin")),
        Operand("mask", (*rows, "key"), torch.bool),
        *(Operand(name, held) for name in ("held_keys", "held_values")),
    ]
    return traced(lambda: DecoderLayer(config, layer), _called, inputs, ("streams_behind", "keys", "values"))


def _called(
    body: DecoderLayer, streams: Tensor, per_layer_input: Tensor, *tensors: Tensor, tap: Tap
) -> tuple[Tensor, ...]:
    behind, seen = body(streams, per_layer_input, Tables(*tensors[:3]), KeysValues(*tensors[3:]), tap=tap)
    return (behind, *seen)


def _outlined(config: TextConfig) -> Decoder:
    """The decoder with a node in the place of each layer."""
    found = Decoder(config)
    found.layers = nn.ModuleList(_Outline(config, layer) for layer in range(config.num_hidden_layers))
    return found


class _Outline(nn.Module):
    """Stands for a layer: one node that takes and gives what the layer does."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self._layer, self._head_dim = layer, config.head_dim

    def forward(
        self, streams: Tensor, per_layer_input: Tensor, tables: Tables, held: KeysValues, *, tap: Tap
    ) -> tuple[Tensor, KeysValues]:
        cache = (*held.keys.shape[:2], tables.mask.shape[2], self._head_dim)
        behind, keys, values = torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{LAYER}",
            (streams, per_layer_input, *tables, *held),
            {"index": self._layer},
            dtypes=[streams.dtype] * 3,
            shapes=[streams.shape, cache, cache],
            version=1,
        )
        return behind, KeysValues(keys, values)


def _embeds(config: TextConfig) -> Operand:
    return Operand("inputs_embeds", ("batch", "token", config.hidden_size))


def _per_layer(config: TextConfig) -> Operand:
    shape = ("batch", "token", config.num_hidden_layers, config.hidden_size_per_layer_input)
    return Operand("per_layer_inputs", shape)


def _cache(config: TextConfig, keys: str) -> tuple[int | str, ...]:
    return ("batch", config.num_key_value_heads, keys, config.head_dim)
