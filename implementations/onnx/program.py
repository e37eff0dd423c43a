"""Runs a package's graphs: the loop around them, as everyone who runs the published ones has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.inputs import NOTHING, Media
from implementations.gemma3n.rope import SLIDING
from implementations.onnx.layouts import in_layouts, layouts_of
from implementations.onnx.options import Options
from implementations.onnx.package.folder import DECODER, EMBEDDER, Package, past, present
from implementations.onnx.quantization.products import with_accuracy
from implementations.onnx.senses import INPUTS, Senses
from implementations.onnx.session import Feeds, Graph, Values
from implementations.onnx.whole_cache import Unseen, of_windows
from parity.checkpoint import config_of
from parity.errors import UsageError
from parity.learning.sizes import sizes_of
from parity.tap import SILENT, Tap

IDS = "text.input_ids"
OF_LAST = ("text.lm_head", "text.logits")
"""Steps of which a conversation has the last token's values alone."""
POSITIONS, MASK, COUNT = "position_ids", "attention_mask", "num_logits_to_keep"
"""What some decoders take and others do not: a mask is 1 for each cached and new token of a row, 0 for padding; 0 for a
count asks for all logits."""


class Program:
    """The graphs, and the keys and values of a conversation.

    Args:
        config: the model's.
        package: its graphs.
        options: how they are run.

    Attributes:
        marked: whether the package says which of its tensors are steps.

    Raises:
        UsageError: for graphs that are not whole, or of another model.
    """

    def __init__(self, config: Config, package: Package, options: Options) -> None:
        self.config = config
        self.graphs = {
            name: Graph(
                f"{name}{package.suffix}.onnx",
                with_accuracy(package.graph(name), options.accuracy),
                package.folder,
                steps,
                options,
            )
            for name, steps in package.steps.items()
        }
        self.marked, self._first = package.marked, options.first_position
        self._layouts = layouts_of(package)
        self._sizes = sizes_of(config_of(package.folder.parent)) if self._layouts else {}
        self._senses = Senses(config, self.graphs)
        self._require_inputs()
        self._past = dict(self._pairs())
        self._sliding = [layer for layer in range(config.text.first_shared_layer) if self._slides(layer)]
        self.start((0,))

    def start(self, padding: tuple[int, ...]) -> None:
        """Begin a conversation of rows that are left-padded by so many tokens; the last one's keys are dropped.

        Raises:
            UsageError: where there is padding, which nobody can tell the decoder of.
        """
        if any(padding) and not self.marked and MASK not in self.graphs[DECODER].inputs:
            name = self.graphs[DECODER].name
            raise UsageError(f"{name} takes no {MASK}, so that it sees padding: give it rows of one length")
        text = self.config.text
        nothing = np.zeros((len(padding), text.num_key_value_heads, 0, text.head_dim), np.float32)
        self._held = dict.fromkeys(self._past, nothing)
        self._begin = -np.array(padding, np.int64)

    def run(
        self, token_ids: NDArray[np.int64], media: Media = NOTHING, *, tap: Tap = SILENT, last_only: bool = False
    ) -> NDArray[np.float32]:
        """Run the next chunk of token ids ``[batch, token]``; returns logits ``[batch, token or 1, vocabulary]``.

        Raises:
            UsageError: for media that the package has no graph for, or that do not fit it or the ids.
        """
        if tap is not SILENT and self._layouts:
            rows, columns = token_ids.shape
            tap = in_layouts(tap, self._layouts, {**self._sizes, "batch": rows, "token": columns})
        embedded = self._embedded(token_ids, media, tap)
        feeds = {**embedded, **self._places(token_ids.shape[1]), **self._held}
        if tap is not SILENT and (unseen := self._unseen()):
            tap = of_windows(tap, unseen)
        found = _given(self.graphs[DECODER], feeds, tap, last=OF_LAST if last_only else ())
        self._begin = self._begin + token_ids.shape[1]
        self._held |= {one: found[other] for one, other in self._past.items() if other in found}
        if self.marked:
            cut = {name: np.ascontiguousarray(held[:, :, count:]) for name, held, count in self._beyond_windows()}
            self._held |= cut
        return found["logits"][:, -1:] if last_only else found["logits"]

    def _embedded(self, token_ids: NDArray[np.int64], media: Media, tap: Tap) -> Values:
        """What the decoder takes of ids and media: embeddings of all, and of ids alone the per-layer inputs."""
        ahead = tap.ahead(IDS)
        ids = token_ids if isinstance(ahead, float) else ahead
        found = _given(self.graphs[EMBEDDER], {"input_ids": token_ids}, tap)
        embeds = self._senses.merged(
            found["inputs_embeds"], ids, media, lambda graph, feeds: _given(graph, feeds, tap), tap=tap
        )
        return {**found, "inputs_embeds": embeds}

    def _places(self, count: int) -> Feeds:
        """Where the next tokens are, as the decoder takes it."""
        positions = self._begin[:, None] + np.arange(count)
        size = self._held[next(iter(self._past))].shape[2] + count
        seen = np.arange(size) >= size - 1 - positions[:, -1:]
        if MASK in self.graphs[DECODER].inputs:
            positions = np.maximum(positions, 0)
        told = {POSITIONS: positions + self._first, MASK: seen, COUNT: np.array(0)}
        return {name: value for name, value in told.items() if name in self.graphs[DECODER].inputs}

    def _beyond_windows(self) -> Iterator[tuple[str, NDArray[Any], int]]:
        """Each input for keys and values of a sliding layer, and how many of them no later token sees.

        It sees all of a window but its own position.
        """
        for layer in self._sliding:
            for name in past(layer):
                held = self._held[name]
                yield name, held, max(0, held.shape[2] - self.config.text.sliding_window + 1)

    def _unseen(self) -> Unseen:
        """Keys and values beyond their windows, which only a loop of others goes on giving."""
        steps = {one.tensor: one.step for one in self.graphs[DECODER].steps}
        return {
            steps[self._past[name]]: held[:, :, :count]
            for name, held, count in self._beyond_windows()
            if count and self._past[name] in steps
        }

    def _pairs(self) -> Iterator[tuple[str, str]]:
        """Inputs for keys and values, and the outputs that go on as them; some decoders have them for all layers."""
        for layer in range(self.config.text.num_hidden_layers):
            for one, other in zip(past(layer), present(layer), strict=True):
                if one in self.graphs[DECODER].inputs:
                    yield one, other

    def _slides(self, layer: int) -> bool:
        return self.config.text.layer_types[layer] == SLIDING

    def _require_inputs(self) -> None:
        layers = [past(layer) for layer in range(self.config.text.num_hidden_layers)]
        owned = [name for pair in layers[: self.config.text.first_shared_layer] for name in pair]
        known = {POSITIONS} if self.marked else {POSITIONS, MASK, COUNT, *(name for pair in layers for name in pair)}
        wanted = {EMBEDDER: ("input_ids",), DECODER: ("inputs_embeds", "per_layer_inputs", *owned), **INPUTS}
        for name, graph in self.graphs.items():
            needed, may = set(wanted[name]), known if name == DECODER else set()
            if other := sorted(needed - {*graph.inputs} | {*graph.inputs} - needed - may):
                what = "takes no" if other[0] in needed else "takes an unknown"
                raise UsageError(f"{graph.name} {what} {other[0]}; is it of the model that config.json describes?")


def _given(graph: Graph, feeds: Feeds, tap: Tap, *, last: tuple[str, ...] = ()) -> Values:
    return graph.run(feeds) if tap is SILENT else graph.observed(feeds, tap, last=last)
