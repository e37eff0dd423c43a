"""Names of tensors: each program wraps the language model in other words, and means the same tensor."""

from __future__ import annotations

from collections.abc import Callable

WRAPPERS = ("model.", "language_model.")
"""Before a name, in any number and order."""
HEAD = "lm_head.weight"
"""The head's table, where it is not the embedding's."""

Spelling = Callable[[str], str]
"""How a reader of the checkpoint calls the tensor of a bare name."""


def bare(name: str) -> str:
    """A tensor's name without the wrappers before it: ``layers.0.mlp.up_proj.weight``, ``vision_tower...``."""
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name


def multimodal(*beside: str) -> Spelling:
    """How Hugging Face spells the tensors of a multimodal model: ``model.language_model.layers.0...``.

    Args:
        beside: what names of the parts begin with that stand beside its language model: ``vision_tower.``.
    """

    def spelled(name: str) -> str:
        if name == HEAD:
            return name
        return f"model.{name}" if name.startswith(beside) else f"model.language_model.{name}"

    return spelled


def text_alone(name: str) -> str:
    """What Hugging Face calls it in a language model alone: ``model.layers.0...``."""
    return name if name == HEAD else f"model.{name}"
