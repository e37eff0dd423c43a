"""The published geometries of Gemma 3n, in any depth and vocabulary: the embedded checkpoint's files, made larger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parity.checkpoint import config_of, object_of
from parity.errors import UsageError
from reference import tiny

JsonObject = dict[str, Any]

OWN = 512
"""Text ids that the embedded checkpoint has; behind them are the towers'."""
TOWERS = 256
"""Ids of pictures and sounds."""
MOST = 262_144
"""Text ids of the published checkpoints."""
DEEPEST = 200
KINDS = 5
"""Layers from one of full attention to the next: KV-shared layers need one of each kind before them."""
IMAGE_TOKENS, AUDIO_TOKENS, SIDE = 256, 188, 768


@dataclass(frozen=True)
class Geometry:
    """What one published size has of its own: layers, how many of them share keys and values, width of the MLP."""

    layers: int
    shared: int
    intermediate: int


GEOMETRIES: Mapping[str, Geometry] = {"e2b": Geometry(30, 10, 8192), "e4b": Geometry(35, 15, 16_384)}
SPARSE = 10
"""Layers from the first on of which the MLP keeps its largest gates alone, in both sizes."""


def configuration(like: str, layers: int | None, vocabulary: int) -> JsonObject:
    """The config.json of a size in so many layers, with so many text ids.

    Of fewer layers the same share is sparse, and shares keys and values, as far as that goes.

    Raises:
        UsageError: for a size that is not published, or numbers that no such model can have.
    """
    if like not in GEOMETRIES:
        raise UsageError(f"no published size {like!r}; there are {', '.join(GEOMETRIES)}")
    geometry = GEOMETRIES[like]
    layers = geometry.layers if layers is None else layers
    if not 1 <= layers <= DEEPEST:
        raise UsageError(f"{layers} layers cannot be; give 1 to {DEEPEST}")
    if not OWN <= vocabulary <= MOST:
        raise UsageError(f"a vocabulary of {vocabulary:,} text ids cannot be; give {OWN} to {MOST:,}")
    whole = _moved(config_of(tiny.path()), vocabulary - OWN)
    return {
        **whole,
        "audio_soft_tokens_per_image": AUDIO_TOKENS,
        "vision_soft_tokens_per_image": IMAGE_TOKENS,
        "text_config": {**whole["text_config"], **_text(geometry, layers, vocabulary)},
        "vision_config": {**whole["vision_config"], "model_args": None},
        "audio_config": {
            **whole["audio_config"],
            "conf_num_attention_heads": 8,
            "conf_num_hidden_layers": 12,
            "hidden_size": 1536,
        },
    }


def text_alone(config: JsonObject) -> JsonObject:
    """The configuration of the language model without its towers, as mlx-lm leaves it."""
    return {name: value for name, value in config.items() if name not in ("vision_config", "audio_config")}


def _text(geometry: Geometry, layers: int, vocabulary: int) -> JsonObject:
    """What of `text_config` the embedded checkpoint has smaller."""
    sparse = min(SPARSE, round(layers * SPARSE / geometry.layers))
    return {
        "activation_sparsity_pattern": [0.95] * sparse + [0.0] * (layers - sparse),
        "head_dim": 256,
        "hidden_size": 2048,
        "intermediate_size": [geometry.intermediate] * layers,
        "layer_types": [f"{'full' if at % KINDS == KINDS - 1 else 'sliding'}_attention" for at in range(layers)],
        "max_position_embeddings": 32_768,
        "num_attention_heads": 8,
        "num_hidden_layers": layers,
        "num_kv_shared_layers": max(0, min(round(layers * geometry.shared / geometry.layers), layers - KINDS)),
        "sliding_window": 512,
        "vocab_size": vocabulary + TOWERS,
        "vocab_size_per_layer_input": vocabulary,
    }


def _moved(config: JsonObject, by: int) -> JsonObject:
    """The configuration with the towers' ids further behind."""
    ids = {name: value + by for name, value in config.items() if name.endswith("_token_id") and _is_towers(value)}
    towers = {name: config[name] for name in ("vision_config", "audio_config")}
    moved = {name: {**tower, "vocab_offset": tower["vocab_offset"] + by} for name, tower in towers.items()}
    return {**config, **ids, **moved}


def _is_towers(value: Any) -> bool:
    return isinstance(value, int) and value >= OWN


def files(config: JsonObject) -> dict[str, JsonObject]:
    """Every JSON file of the checkpoint but the weights' index, by name."""
    given = {file.name: object_of(file) for file in sorted(tiny.path().glob("*.json"))}
    lengths = {"audio_seq_length": AUDIO_TOKENS, "image_seq_length": IMAGE_TOKENS}
    text = config["text_config"]
    side = {"image_seq_length": IMAGE_TOKENS, "size": {"height": SIDE, "width": SIDE}}
    return {
        **given,
        "config.json": config,
        "preprocessor_config.json": {**given["preprocessor_config.json"], **side},
        "processor_config.json": {**given["processor_config.json"], **lengths},
        "tokenizer.json": _tokenizer(given["tokenizer.json"], text["vocab_size_per_layer_input"] - OWN),
        "tokenizer_config.json": {
            **given["tokenizer_config.json"],
            "model_max_length": text["max_position_embeddings"],
        },
    }


def _tokenizer(own: JsonObject, more: int) -> JsonObject:
    """The tokenizer with so many further ids of text, which no text has, before the towers'."""
    vocabulary: dict[str, int] = own["model"]["vocab"]
    spoken = {token: index for token, index in vocabulary.items() if index < OWN}
    unused = {f"<unused_text{index}>": OWN + index for index in range(more)}
    towers = {token: index + more for token, index in vocabulary.items() if index >= OWN}
    added = [{**token, "id": token["id"] + more * (token["id"] >= OWN)} for token in own["added_tokens"]]
    return {**own, "added_tokens": added, "model": {**own["model"], "vocab": {**spoken, **unused, **towers}}}
