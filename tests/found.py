"""Checkpoints as people have them: the embedded one, with fewer layers to be quick, written another way."""

from __future__ import annotations

import copy
import functools
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from reference.tiny import path

LANGUAGE = "model.language_model."
TABLE = f"{LANGUAGE}embed_tokens.weight"
HEAD = "lm_head.weight"
PREPROCESSING = (
    "chat_template.jinja",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)

Tensors = Mapping[str, Tensor]


LAYERS = (0, 4, 10, 14, 20, 24)
"""Of the embedded checkpoint: a sliding and a full layer each that is sparse, dense, and without keys of its own."""


@functools.cache
def tensors() -> Tensors:
    """The tensors of the small checkpoint: the embedded one's, with `LAYERS` for all layers."""
    whole = load_file(path() / "model.safetensors")
    parts = re.compile(rf"{re.escape(LANGUAGE)}layers\.(\d+)\.(.+)")
    small = {name: tensor for name, tensor in whole.items() if not parts.match(name)}
    for to, layer in enumerate(LAYERS):
        before = f"{LANGUAGE}layers.{layer}."
        small |= {
            f"{LANGUAGE}layers.{to}.{name.removeprefix(before)}": tensor
            for name, tensor in whole.items()
            if name.startswith(before)
        }
    for name, axis in (
        (f"{LANGUAGE}embed_tokens_per_layer.weight", 1),
        (f"{LANGUAGE}per_layer_model_projection.weight", 0),
    ):
        chunks = whole[name].chunk(25, axis)
        small[name] = torch.cat([chunks[layer] for layer in LAYERS], axis)
    return small


@functools.cache
def _configuration() -> Any:
    whole = json.loads((path() / "config.json").read_text())
    text = whole["text_config"]
    for name in ("activation_sparsity_pattern", "intermediate_size", "layer_types"):
        text[name] = [text[name][layer] for layer in LAYERS]
    text |= {"num_hidden_layers": len(LAYERS), "num_kv_shared_layers": 2}
    return whole


def configuration(**text: Any) -> Any:
    """The small checkpoint's config.json, with other fields in ``text_config``; None removes one."""
    config = copy.deepcopy(_configuration())
    fields = {**config["text_config"], **text}
    config["text_config"] = {name: value for name, value in fields.items() if value is not None}
    return config


def write(folder: Path, *, config: Any = None, weights: Tensors | None = None, **fields: Any) -> Path:
    """The small checkpoint, but for its configuration, fields of that, or its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PREPROCESSING:
        shutil.copy(path() / name, folder / name)
    (folder / "config.json").write_text(json.dumps({**(config or configuration()), **fields}))
    save_file(dict(weights or tensors()), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_text(folder: Path, *, prefix: str = "model.", weights: Tensors | None = None, **fields: Any) -> Path:
    """The small checkpoint's language model alone, as `Gemma3nForCausalLM` saves it; several times as quick.

    Args:
        folder: where it goes.
        prefix: before every tensor's name but the head's.
        weights: further tensors, or others, by their names in the multimodal checkpoint.
        fields: further fields of its config.json, or others; None removes one.
    """
    given = {**tensors(), **(weights or {})}
    parts = {name.removeprefix(LANGUAGE): tensor for name, tensor in given.items() if name.startswith(LANGUAGE)}
    own = {HEAD: given[HEAD]} if HEAD in given else {}
    text = {**configuration(**fields)["text_config"], "model_type": "gemma3n_text"}
    return write(folder, config=text, weights={**renamed(parts, lambda name: prefix + name), **own})


def other_head() -> Tensor:
    """A head's table that is near the embedding's, and not the same."""
    table = tensors()[TABLE]
    noise = torch.randn(table.shape, generator=torch.Generator().manual_seed(0))
    return (table.float() + 0.1 * noise).to(table.dtype)


def renamed(given: Tensors, change: Callable[[str], str]) -> Tensors:
    """The same tensors by other names."""
    return {change(name): tensor for name, tensor in given.items()}
