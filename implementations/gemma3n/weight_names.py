"""Rules about the names of a checkpoint's tensors, the same for every implementation.

Names are those that Hugging Face publishes and transformers 5 writes: ``model.language_model.layers.0...``; those of
other writers are spelled so by `PUBLISHED`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from implementations.gemma3n.config import Config, TextConfig
from parity.errors import UsageError
from parity.weights.names import HEAD, multimodal

PUBLISHED = multimodal("vision_tower.", "audio_tower.", "embed_vision.", "embed_audio.")
"""How a checkpoint's tensors are spelled."""

LANGUAGE = "model.language_model."
TOWERS = ("model.vision_tower.", "model.audio_tower.")
SOFT_NORMS = ("model.embed_vision.soft_embedding_norm.", "model.embed_audio.soft_embedding_norm.")
SHARED = ("k_proj", "v_proj", "k_norm", "v_norm")


def ignored(config: TextConfig) -> dict[str, str]:
    """Prefixes of tensors that the text path knowingly ignores, and why.

    Published checkpoints carry k and v of KV-shared layers, which no arithmetic uses; towers and soft embeddings
    serve images and sound.
    """
    layers = range(config.first_shared_layer, config.num_hidden_layers)
    shared = [f"{LANGUAGE}layers.{layer}.self_attn.{name}." for layer in layers for name in SHARED]
    return {
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


def has_head(config: Config, found: Iterable[str]) -> bool:
    """Whether the head is a table of its own: where the checkpoint has one, or must have one.

    As in transformers, a head that is there is used whatever `tie_word_embeddings` says; that only says whether the
    embedding's table stands for one that is not there.
    """
    return HEAD in found or not config.tie_word_embeddings


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
