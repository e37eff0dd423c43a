"""The parts that a checkpoint is converted in, each made when its turn comes, of its own weights alone.

A head of a quarter of a million ids is 2 GB in float32, and coremltools takes as much again and half to convert it:
beside a whole model that would be what a machine has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from torch import Tensor

from implementations.ane.loading import Compiled, compiled
from implementations.ane.options import Options
from implementations.ane.weights import Wanted
from implementations.coreml.convert.parts import DecoderPart, HeadPart, HearingPart, Part, SeeingPart, split
from implementations.coreml.package.folder import AUDIO, HEAD, VISION
from implementations.coreml.package.settings import Settings
from parity.errors import UsageError

Make = Callable[[], Part]
"""A part, made at the first call."""
LAYERS, EMBEDDER = "decoder.layers.", "embedder."


@dataclass(frozen=True)
class Plan:
    """What a checkpoint becomes.

    Attributes:
        checkpoint: a directory.
        settings: with the context that fits the checkpoint.
        layers: of its decoder.
    """

    checkpoint: Path
    settings: Settings
    layers: int

    def decoder(self) -> dict[str, Make]:
        """The packages of the decoder, in the order in which they run.

        Raises:
            UsageError: for more parts than layers.
        """
        count = self.settings.chunks
        if not self.settings.text:
            return {}
        if count > self.layers:
            raise UsageError(f"a decoder of {self.layers} layers cannot be in {count} parts; give fewer")
        parts = enumerate(split(self.layers, count), 1)
        return {f"decoder_{number}of{count}": cache(partial(self._layers, part)) for number, part in parts}

    def others(self) -> dict[str, Make]:
        """Head and towers."""
        settings = self.settings
        found: dict[str, Make] = {HEAD: cache(self._head)} if settings.text else {}
        if settings.picture is not None:
            found[VISION] = cache(partial(self._seeing, settings.picture))
        if settings.sound is not None:
            found[AUDIO] = cache(partial(self._hearing, settings.sound))
        return found

    def tables(self) -> Iterator[tuple[str, Tensor]]:
        """What the host looks up, by its name in the embedder, one after the other."""
        for name, _ in self._of(lambda name: False).model.embedder.named_parameters():
            yield name, self._of(f"{EMBEDDER}{name}".__eq__).model.embedder.get_parameter(name)

    def _of(self, wanted: Wanted) -> Compiled:
        return compiled(self.checkpoint, self.settings.dtype, options_of(self.settings), wanted)

    def _layers(self, part: range) -> Part:
        """Some layers; what stands before the first and behind the last is small, and in each part."""

        def wanted(name: str) -> bool:
            if not name.startswith(LAYERS):
                return name.startswith("decoder.")
            return int(name.removeprefix(LAYERS).partition(".")[0]) in part

        one = self._of(wanted)
        return DecoderPart(one.model, one.config.text, part, one.shapes, stateful=self.settings.stateful)

    def _head(self) -> Part:
        one = self._of(lambda name: name.startswith("head."))
        return HeadPart(one.model, one.config.text)

    def _seeing(self, size: tuple[int, int]) -> Part:
        return SeeingPart(self._of(_of_tower("vision")).model, size)

    def _hearing(self, size: tuple[int, int]) -> Part:
        one = self._of(_of_tower("audio"))
        return HearingPart(one.model, one.config.audio, size)


def _of_tower(modality: str) -> Wanted:
    prefixes = (f"{modality}_tower.", f"{EMBEDDER}embed_{modality}.")
    return lambda name: name.startswith(prefixes)


def options_of(settings: Settings) -> Options:
    """The settings that the form of the engine has."""
    return Options(alpha=settings.alpha, context=settings.context, batch=settings.batch)
