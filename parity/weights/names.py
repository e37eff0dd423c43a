"""Names of tensors: each program wraps the language model in other words, and means the same tensor."""

from __future__ import annotations

from collections.abc import Callable

WRAPPERS = ("model.", "language_model.")
"""Before a name, in any number and order."""
BESIDE = ("vision_tower.", "audio_tower.", "embed_vision.", "embed_audio.")
"""Parts of a multimodal model that stand beside its language model."""
HEAD = "lm_head.weight"
"""The head's table, where it is not the embedding's."""

Spelling = Callable[[str], str]
"""How a reader of the checkpoint calls the tensor of a bare name."""


def bare(name: str) -> str:
    """A tensor's name without the wrappers before it: ``layers.0.mlp.up_proj.weight``, ``vision_tower...``."""
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name


def multimodal(name: str) -> str:
    """What Hugging Face calls the tensor of a bare name in a multimodal model: ``model.language_model.layers.0...``."""
    if name == HEAD:
        return name
    return f"model.{name}" if name.startswith(BESIDE) else f"model.language_model.{name}"


def text_alone(name: str) -> str:
    """What Hugging Face calls it in a language model alone: ``model.layers.0...``."""
    return name if name == HEAD else f"model.{name}"
