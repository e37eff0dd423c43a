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
from implementations.onnx.session import Graph, Values
from parity.errors import UsageError
from parity.tap import SILENT, Tap

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
        self.embedder, self.decoder = (
            Graph(f"{name}.onnx", package.graph(name), package.folder, package.steps[name], options)
            for name in (EMBEDDER, DECODER)
        )
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
            UsageError: for media.
        """
        if media:
            raise UsageError("backend onnx has no graphs of pictures and sounds yet: give it text")
        embedded = self._given(self.embedder, {"input_ids": token_ids}, tap)
        positions = self._begin[:, None] + np.arange(token_ids.shape[1])
        feeds = {**embedded, "position_ids": positions, **self._held}
        found = self._given(self.decoder, feeds, tap, last=OF_LAST if last_only else ())
        self._begin = self._begin + token_ids.shape[1]
        self._held = {one: self._kept(one, found[other]) for one, other in self._past.items()}
        return found["logits"][:, -1:] if last_only else found["logits"]

    @staticmethod
    def _given(graph: Graph, feeds: Values, tap: Tap, *, last: tuple[str, ...] = ()) -> Values:
        return graph.run(feeds) if tap is SILENT else graph.observed(feeds, tap, last=last)

    def _kept(self, name: str, seen: NDArray[Any]) -> NDArray[Any]:
        """What later chunks still see: of a sliding layer all of a window but the query's own position."""
        if name not in self._sliding:
            return seen
        return np.ascontiguousarray(seen[:, :, max(0, seen.shape[2] - self.config.text.sliding_window + 1) :])

    def _slides(self, layer: int) -> bool:
        return self.config.text.layer_types[layer] == SLIDING

    def _require_inputs(self) -> None:
        wanted = {self.embedder: {"input_ids"}, self.decoder: {"inputs_embeds", "per_layer_inputs", "position_ids"}}
        wanted[self.decoder] |= set(self._past)
        for graph, names in wanted.items():
            if other := sorted(set(graph.inputs) ^ names):
                what = "takes no" if other[0] in names else "takes an unknown"
                raise UsageError(f"{graph.name} {what} {other[0]}; is it of the model that config.json describes?")
