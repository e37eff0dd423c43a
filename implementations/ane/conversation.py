"""What one conversation carries from chunk to chunk: caches of fixed sizes, and how far it has come."""

from __future__ import annotations

import torch
from torch import Tensor

from implementations.ane.shapes import Shapes
from implementations.gemma3n.config import TextConfig


class Conversation:
    """Caches of one conversation, zero to begin with.

    Args:
        config: the language model's.
        shapes: the compiled shapes.
        padding: left-padding tokens of each row.

    Attributes:
        caches: keys and values of each layer that owns them, each ``[batch, kv_head, slot, head_dim]``.
        start: tokens that were run, padding included.
    """

    def __init__(self, config: TextConfig, shapes: Shapes, padding: tuple[int, ...]) -> None:
        self.padding = torch.tensor(padding)
        self.start = 0
        self.caches: list[Tensor] = []
        self._shapes = shapes
        for kind in config.layer_types[: config.first_shared_layer]:
            shape = (len(padding), config.num_key_value_heads, shapes.slots(kind), config.head_dim)
            self.caches += [torch.zeros(shape), torch.zeros(shape)]

    def past(self, kind: str) -> int:
        """Cached positions that the next chunk sees at all."""
        return self.start - self._shapes.earliest(kind, self.start)
