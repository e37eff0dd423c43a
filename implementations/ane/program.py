"""Runs chunks of any length through the compiled parts, whose shapes are fixed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from implementations.ane.conversation import Conversation
from implementations.ane.decoder import kinds
from implementations.ane.host import Host, Prepared
from implementations.ane.model import Parts
from implementations.ane.senses import Senses
from implementations.ane.shapes import Call, Shapes
from implementations.ane.tensors import AneTensors
from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.inputs import NOTHING, Media
from parity.arithmetic import Arithmetic
from parity.errors import UsageError
from parity.tap import Tap


class Program:
    """The model and its conversation.

    Args:
        config: the model's.
        model: its parts.
        shapes: what is compiled.
        tensors: told which part of a chunk is running.
        arithmetic: of the compiled parts. The host computes in float32 and rounds what it hands them.
    """

    def __init__(
        self,
        config: Config,
        model: Parts,
        shapes: Shapes,
        tensors: AneTensors,
        arithmetic: Arithmetic,
    ) -> None:
        self.config, self.model, self.shapes, self.ids = config.text, model, shapes, config.ids
        self._tensors, self._arithmetic = tensors, arithmetic
        self.senses = Senses(config, model, arithmetic)
        self._host = Host(config.text, model.embedder, self.senses, arithmetic.rounded)
        self.start((0,))

    def start(self, padding: tuple[int, ...]) -> None:
        """Begin a conversation of so many rows; the last one's caches are dropped."""
        self.rows = self._tensors.rows = len(padding)
        self.conversation = Conversation(self.config, self.shapes, padding)

    @torch.inference_mode()
    def run(self, token_ids: Tensor, media: Media = NOTHING, *, tap: Tap, last_only: bool = False) -> Tensor:
        """Run the next chunk.

        Args:
            token_ids: ``[batch, token]``, int64.
            media: what the placeholders among them stand for.
            tap: where steps go.
            last_only: whether only the last token's logits are wanted, as generation does.

        Returns:
            Logits ``[batch, token or 1, vocabulary]``.

        Raises:
            UsageError: for a chunk beyond the compiled context, another number of rows, or media that do not fit.
        """
        count = token_ids.shape[1]
        calls = list(self.shapes.calls(self.conversation.start, count))
        prepared = self._host.prepare(token_ids, media, self.conversation, tap=tap)
        try:
            logits = [self._call(prepared, call, tap, last_only) for call in calls]
        finally:
            self._tensors.call = None
        self.conversation.start += count
        whole = logits[-1] if last_only else torch.cat(logits, dim=3)
        return whole[:, :, 0].transpose(1, 2)

    def _call(self, prepared: Prepared, call: Call, tap: Tap, last_only: bool) -> Tensor:
        """One call of each compiled part; logits of its real tokens, ``[batch, vocabulary, 1, token]``."""
        self._tensors.call = call
        inputs = [*prepared.inputs(call, self.shapes), *self.conversation.caches]
        require_shapes(inputs, self.expected(call.size), self.model.inputs)
        with self._arithmetic.running():
            states, *caches = self.model.decode(*inputs, tap=tap)
            self.conversation.caches = caches
            wanted = states[..., call.count - 1 : call.count] if last_only else states
            self._tensors.call = call.last if last_only else call
            logits = self.model.score(wanted, tap=tap)
        return logits[..., : call.count]

    def expected(self, tokens: int) -> list[tuple[int, ...]]:
        """Shapes of the decoder's inputs in a call of so many tokens."""
        config, rows = self.config, self.rows
        ple = config.num_hidden_layers * config.hidden_size_per_layer_input
        found: list[tuple[int, ...]] = [(rows, config.hidden_size, 1, tokens), (rows, ple, 1, tokens)]
        for kind in kinds(config):
            slots = self.shapes.slots(kind)
            found += [(rows, 1, config.head_dim, tokens)] * 2 + [(rows, 1, tokens, slots), (1, 1, slots, tokens)]
        return found + [tuple(cache.shape) for cache in self.conversation.caches]


def require_shapes(inputs: Sequence[Tensor], expected: Sequence[tuple[int, ...]], names: Sequence[str]) -> None:
    """Check the inputs of a compiled call.

    Raises:
        UsageError: naming the first that has another shape.
    """
    for tensor, shape, name in zip(inputs, expected, names, strict=True):
        if tensor.shape != shape:
            raise UsageError(
                f"backend ane: {name} is {list(tensor.shape)}, compiled for {list(shape)}; "
                "begin a conversation with start() for another number of rows, or load with other options"
            )
