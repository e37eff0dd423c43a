"""Names of tensors: each program wraps the language model in other words, and means the same tensor."""

from __future__ import annotations

from collections.abc import Callable

WRAPPERS = ("model.", "language_model.")
"""Before a name, in any number and order: ``model.layers``, ``model.language_model.layers``, ``layers``."""

Spelling = Callable[[str], str]
"""How a reader of the checkpoint calls the tensor of a bare name."""


def bare(name: str) -> str:
    """A tensor's name without the wrappers before it: ``layers.0.mlp.up_proj.weight``, ``vision_tower...``."""
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name
