"""Runs a package's graphs: the loop around them, as everyone who runs the published ones has it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.inputs import NOTHING, Media
from implementations.gemma3n.rope import SLIDING
from implementations.onnx.options import Options
from implementations.onnx.package.folder import DECODER, EMBEDDER, Package, past, present
from implementations.onnx.quantization.products import with_accuracy
from implementations.onnx.senses import INPUTS, Senses
from implementations.onnx.session import Feeds, Graph, Values
from parity.errors import UsageError
from parity.tap import SILENT, Tap

IDS = "text.input_ids"
OF_LAST = ("text.lm_head", "text.logits")
"""Steps of which a conversation has the last token's values alone."""


class Program:
    """The graphs, and the keys and values of a conversation.

    Args:
        config: the model's.
        package: its graphs.
        options: how they are run.

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
        self._senses = Senses(config, self.graphs)
        owners = range(config.text.first_shared_layer)
        self._past = {one: other for layer in owners for one, other in zip(past(layer), present(layer), strict=True)}
        self._sliding = {name for layer in owners for name in past(layer) if self._slides(layer)}
        self._require_inputs()
        self.start((0,))

    def start(self, padding: tuple[int, ...]) -> None:
        """Begin a conversation of rows that are left-padded by so many tokens; the last one's keys are dropped."""
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
        embedded = self._embedded(token_ids, media, tap)
        positions = self._begin[:, None] + np.arange(token_ids.shape[1])
        feeds = {**embedded, "position_ids": positions, **self._held}
        found = _given(self.graphs[DECODER], feeds, tap, last=OF_LAST if last_only else ())
        self._begin = self._begin + token_ids.shape[1]
        self._held = {one: self._kept(one, found[other]) for one, other in self._past.items()}
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

    def _kept(self, name: str, seen: NDArray[Any]) -> NDArray[Any]:
        """What later chunks still see: of a sliding layer all of a window but the query's own position."""
        if name not in self._sliding:
            return seen
        return np.ascontiguousarray(seen[:, :, max(0, seen.shape[2] - self.config.text.sliding_window + 1) :])

    def _slides(self, layer: int) -> bool:
        return self.config.text.layer_types[layer] == SLIDING

    def _require_inputs(self) -> None:
        taken = ("inputs_embeds", "per_layer_inputs", "position_ids", *self._past)
        wanted = {EMBEDDER: ("input_ids",), DECODER: taken, **INPUTS}
        for name, graph in self.graphs.items():
            names = set(wanted[name])
            if other := sorted(set(graph.inputs) ^ names):
                what = "takes no" if other[0] in names else "takes an unknown"
                raise UsageError(f"{graph.name} {what} {other[0]}; is it of the model that config.json describes?")


def _given(graph: Graph, feeds: Feeds, tap: Tap, *, last: tuple[str, ...] = ()) -> Values:
    return graph.run(feeds) if tap is SILENT else graph.observed(feeds, tap, last=last)
