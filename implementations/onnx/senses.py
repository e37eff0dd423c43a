"""Pictures and sounds: the graphs that see and hear, and soft tokens in the places of their placeholders."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.inputs import Media, Sound
from implementations.onnx.package.folder import AUDIO, EMBEDDER, VISION
from implementations.onnx.session import Feeds, Graph, Values
from parity.errors import UsageError
from parity.tap import Tap

Run = Callable[[Graph, Feeds], Values]
"""Runs a graph; its steps are emitted."""
INPUTS = {VISION: ("pixel_values",), AUDIO: ("input_features", "input_features_mask")}
"""What each encoder takes."""


class Senses:
    """The encoders of a package, each run once for all that a chunk shows or plays.

    Args:
        config: the model's.
        graphs: those of the package, which may have no encoders.
    """

    def __init__(self, config: Config, graphs: Mapping[str, Graph]) -> None:
        self._config, self._graphs = config, graphs

    def merged(
        self, embedded: NDArray[Any], token_ids: NDArray[np.int64], media: Media, run: Run, *, tap: Tap
    ) -> NDArray[Any]:
        """Embeddings ``[batch, token, hidden]`` with soft tokens of `media` where `token_ids` have places for them.

        Raises:
            UsageError: where there are more or fewer places than soft tokens, for what the graphs do not take, or where
                the package has none for it.
        """
        text = tap.into("text")
        if media.pixels is not None:
            places = token_ids == self._config.image_token_id
            embedded = text("merged.image", filled(embedded, places, self._see(media.pixels, run)))
        if media.sound is not None:
            places = token_ids == self._config.audio_token_id
            embedded = text("merged.audio", filled(embedded, places, self._hear(media.sound, run, tap)))
        return embedded

    def _see(self, pixels: NDArray[np.float32], run: Run) -> NDArray[Any]:
        """Soft tokens of pictures ``[image, channel, height, width]``: ``[image, token, hidden]``."""
        graph = self._graph(VISION, "pictures")
        wanted, given = graph.size("pixel_values")[2:], pixels.shape[2:]
        if any(one not in (0, other) for one, other in zip(wanted, given, strict=True)):
            raise UsageError(f"{graph.name} takes pictures of {_times(wanted)}, not of {_times(given)}")
        return run(graph, {"pixel_values": pixels})["image_features"]

    def _hear(self, sound: Sound, run: Run, tap: Tap) -> NDArray[Any]:
        """Soft tokens of clips: ``[clip, token, hidden]``, of each as many as the prompt has places for.

        Some encoders pad a clip's to that number, others leave it to the loop.
        """
        graph, audio = self._graph(AUDIO, "sounds"), self._config.audio
        strides = (*(time for time, _ in audio.sscp_conv_stride_size), audio.conf_reduction_factor)
        frames = -(-sound.mask.shape[1] // math.prod(strides))
        if frames > (count := self._config.audio_soft_tokens_per_image):  # the graph would cut them off
            raise UsageError(f"a clip makes {frames} soft tokens, the prompt has places for {count}; shorten the sound")
        soft = run(graph, {"input_features": sound.mel, "input_features_mask": sound.mask})["audio_features"]
        if soft.shape[1] == count:
            return soft
        heard = sound.mask[:, :: math.prod(strides)].astype(bool)
        return tap("embed_audio.soft_tokens", padded(soft, heard, self._silence(), count))

    def _silence(self) -> NDArray[Any]:
        """What stands in places that have no sound: the embedding of the last audio id, ``[hidden]``."""
        last = np.array([[self._config.audio.last_id]])
        return self._graphs[EMBEDDER].run({"input_ids": last})["inputs_embeds"][0, 0]

    def _graph(self, name: str, what: str) -> Graph:
        if name not in self._graphs:
            raise UsageError(f"the package has no graph {name}, so that it takes no {what}; export it again")
        return self._graphs[name]


def filled(embedded: NDArray[Any], places: NDArray[np.bool_], soft: NDArray[Any]) -> NDArray[Any]:
    """Put soft tokens where they belong, one place after the other, row by row.

    Args:
        embedded: ``[batch, token, hidden]``.
        places: ``[batch, token]``.
        soft: ``[image or clip, token, hidden]``.

    Raises:
        UsageError: where there are more or fewer places than soft tokens.
    """
    rows = soft.reshape(-1, soft.shape[-1])
    if len(rows) != (count := int(places.sum())):
        raise UsageError(f"{len(rows)} soft tokens for {count} places in the prompt; give its media with it")
    merged = embedded.copy()
    merged[places] = rows
    return merged


def padded(soft: NDArray[Any], heard: NDArray[np.bool_], silence: NDArray[Any], count: int) -> NDArray[Any]:
    """As many soft tokens of each clip as the prompt has places for.

    Args:
        soft: of its frames, ``[clip, frame, hidden]``.
        heard: which frames are sound, ``[clip, frame]``.
        silence: what stands for the others and behind them, ``[hidden]``.
        count: of places.
    """
    found = np.broadcast_to(silence, (len(soft), count, len(silence))).copy()
    found[:, : soft.shape[1]][heard] = soft[heard]
    return found


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))
