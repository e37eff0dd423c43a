"""What the processor does around the compiled calls: embeddings, positions, rotary tables and masks of a chunk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from implementations.ane.conversation import Conversation
from implementations.ane.decoder import kinds
from implementations.ane.embedder import Embedder
from implementations.ane.masks import positions, slot_mask, slot_update, visible
from implementations.ane.senses import Senses
from implementations.ane.shapes import Call, Shapes
from implementations.gemma3n.config import TextConfig
from implementations.gemma3n.preprocessing.inputs import Media
from implementations.gemma3n.rope import SLIDING
from parity.tap import Tap


@dataclass(frozen=True)
class Prepared:
    """A chunk's inputs before it is cut into calls.

    Attributes:
        embedded: ``[batch, hidden, 1, token]``.
        token_term: ``[batch, layer * ple, 1, token]``.
        rotary: by layer type, cos and sin, each ``[batch, 1, head_dim, token]``.
        seen: by layer type, ``[batch, token, key]``, bool, True = visible.
    """

    embedded: Tensor
    token_term: Tensor
    rotary: dict[str, tuple[Tensor, Tensor]]
    seen: dict[str, Tensor]

    def inputs(self, call: Call, shapes: Shapes) -> list[Tensor]:
        """A call's inputs in the decoder's order, without the caches."""
        tensors = [cut(self.embedded, call), cut(self.token_term, call)]
        for kind in sorted(self.rotary):
            cos, sin = self.rotary[kind]
            tensors += [cut(cos, call), cut(sin, call)]
            tensors += [slot_mask(self.seen[kind], call, kind, shapes), slot_update(call, kind, shapes)]
        return tensors


class Host:
    """Prepares chunks.

    Args:
        config: the language model's.
        embedder: its tables.
        senses: what makes soft tokens of pictures and sounds.
        rounded: applied to what is handed to the compiled parts. Angles are not rounded: in float16, positions beyond
            2,048 are not even whole.
    """

    def __init__(
        self, config: TextConfig, embedder: Embedder, senses: Senses, rounded: Callable[[Tensor], Tensor]
    ) -> None:
        self._config = config
        self._embedder, self._senses, self._rounded = embedder, senses, rounded
        self._frequencies = {
            kind: torch.from_numpy(config.ropes[kind].inverse_frequencies(config.head_dim)) for kind in kinds(config)
        }

    def prepare(self, token_ids: Tensor, media: Media, conversation: Conversation, *, tap: Tap) -> Prepared:
        """Everything that the calls of a chunk of ids ``[batch, token]``, and of their media, need."""
        text = tap.into("text")
        token_ids = text("input_ids", token_ids)
        embedded, token_term = self._embedder(token_ids, self._rounded, tap=tap)
        embedded = text("inputs_embeds", self._senses.merge(embedded, token_ids, media, tap=tap))
        start, count = conversation.start, token_ids.shape[1]
        queries = text("position_ids", positions(start, count, conversation.padding))
        rotary, seen = {}, {}
        for kind, table in self._frequencies.items():
            window = self._config.sliding_window if kind == SLIDING else None
            past = conversation.past(kind)
            keys = positions(start - past, past + count, conversation.padding)
            seen[kind] = text(f"mask.{kind}", visible(queries, keys, window=window))
            cos, sin = rotary_tables(queries, text(f"rope.{kind}.inv_freq", table))
            rotary[kind] = self._rounded(cos), self._rounded(sin)
        return Prepared(embedded, token_term, rotary, seen)


def rotary_tables(queries: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each ``[batch, 1, head_dim, token]``; the first half of the sines is negated.

    Args:
        queries: positions ``[batch, token]``.
        frequencies: radians per position, ``[head_dim / 2]``.
    """
    angles = queries.to(frequencies.dtype)[:, None, None, :] * frequencies[:, None]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=2), torch.cat((-sin, sin), dim=2)


def cut(x: Tensor, call: Call) -> Tensor:
    """A call's tokens of ``[..., token]``, padded with zeros to the compiled size."""
    return functional.pad(x[..., call.tokens], (0, call.size - call.count)).contiguous()
