"""Rules about the names of a checkpoint's tensors, the same for every implementation.

Names are those that Hugging Face publishes and transformers 5 writes: ``model.language_model.layers.0...``. The head
is the embedding table, so `lm_head.weight` is a copy where it is present.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from implementations.gemma3n.config import TextConfig
from parity.errors import UsageError

TIED_HEAD = "lm_head.weight"
TOWERS = ("model.vision_tower.", "model.audio_tower.")
SOFT_NORMS = ("model.embed_vision.soft_embedding_norm.", "model.embed_audio.soft_embedding_norm.")
SHARED = ("k_proj", "v_proj", "k_norm", "v_norm")
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"


def ignored(config: TextConfig) -> dict[str, str]:
    """Prefixes of tensors that the text path knowingly ignores, and why.

    Published checkpoints carry k and v of KV-shared layers, which no arithmetic uses; towers and soft embeddings
    serve images and sound.
    """
    layers = range(config.first_shared_layer, config.num_hidden_layers)
    shared = [f"model.language_model.layers.{layer}.self_attn.{name}." for layer in layers for name in SHARED]
    return {
        TIED_HEAD: "a copy of the embedding table",
        **dict.fromkeys(TOWERS, "towers serve images and sound"),
        **dict.fromkeys(SOFT_NORMS, "soft embeddings come from the towers"),
        **dict.fromkeys(shared, "the layer shares its donor's keys and values"),
    }


def unused(config: TextConfig, held: Iterable[str]) -> dict[str, str]:
    """What of `ignored` a model has no use for whose parameters hold the tensors `held`."""
    names = tuple(held)
    return {
        prefix: why for prefix, why in ignored(config).items() if not any(name.startswith(prefix) for name in names)
    }


def weight_files(checkpoint: Path) -> list[Path]:
    """The safetensors files of a checkpoint directory, sharded or not.

    Raises:
        UsageError: when a file is missing or the index cannot be read.
    """
    index = checkpoint / INDEX
    if not index.exists():
        return [_existing(checkpoint / SINGLE)]
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UsageError(f"checkpoint {checkpoint}: {INDEX} cannot be read ({error!r})") from error
    return [_existing(checkpoint / name) for name in sorted(names)]


def require_names(found: Iterable[str], expected: Iterable[str], checkpoint: Path) -> None:
    """Check that a checkpoint has the tensors of the model, all and no other.

    Raises:
        UsageError: naming the first tensor that is missing or unknown, and how many there are.
    """
    have, want = set(found), set(expected)
    for names, what in ((sorted(want - have), "lacks"), (sorted(have - want), "has an unknown tensor")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UsageError(f"checkpoint {checkpoint} {what} {names[0]}{more}")


def require_shape(name: str, found: Sequence[int], expected: Sequence[int], checkpoint: Path) -> None:
    """Check a tensor's shape against what the configuration asks for.

    Raises:
        UsageError: naming the tensor and both shapes.
    """
    if tuple(found) != tuple(expected):
        raise UsageError(f"checkpoint {checkpoint}: {name} is {list(found)}; its config.json needs {list(expected)}")


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise UsageError(f"checkpoint {file.parent}: {file.name} is not there")
    return file
