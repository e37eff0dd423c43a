"""What a model sees: pixels of pictures to the rows that stand for their placeholders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.settings import ImageSettings
from implementations.gguf.convert.conversion import TOWER_FILE, VOCABULARY_FILE, Conversion
from implementations.gguf.engine.tensors import GraphTensors
from implementations.gguf.file import read
from implementations.gguf.options import Options
from implementations.gguf.vision.cut import marker
from implementations.gguf.vision.graph import WIDTH, table
from implementations.gguf.vision.tower import VisionTower, seeing_library
from implementations.gguf.vision.watch import VisionWatch
from parity.tap import Tap


class Sight:
    """The vision tower of a checkpoint: of the file that is named, or of one that is written when it is made.

    Args:
        checkpoint: a Hugging Face folder.
        config: its configuration.
        folder: where the files go.
        tensors: of the backend.
        options: how it is run.

    Raises:
        UsageError: for a tower that libmtmd does not compute, or a file that is none of one.
    """

    def __init__(self, checkpoint: Path, config: Config, folder: Path, tensors: GraphTensors, options: Options) -> None:
        conversion = Conversion.of(checkpoint, checkpoint.name, tower=True)
        assert conversion.tower is not None
        if options.mmproj is None:
            conversion.write_tower(folder / TOWER_FILE, lambda what: None)
        else:
            read(options.mmproj)  # libmtmd itself takes one that is cut off, and what lacks is whatever was in memory
        conversion.write_vocabulary(folder / VOCABULARY_FILE)
        self._settings, self._hidden = conversion.tower.image, config.text.hidden_size
        self._soft = config.image_token_id
        factor, nodes = math.sqrt(WIDTH / self._hidden), table(config.vision.channel_multiplier)
        watch = VisionWatch(seeing_library(), nodes, tensors, self._hidden, factor)
        self._factor = np.float32(factor)
        file = options.mmproj or folder / TOWER_FILE
        self._tower = VisionTower(file, folder / VOCABULARY_FILE, watch, options.threads)

    def see(self, pixels: NDArray[np.float32], *, tap: Tap) -> NDArray[np.float32]:
        """Soft tokens ``[image, token, hidden]`` of pictures ``[image, channel, height, width]``.

        Raises:
            BackendUnavailable: where libmtmd cannot compute.
        """
        return self._tower.see(levels(pixels, self._settings), tap=tap)[..., : self._hidden] / self._factor

    @property
    def marker(self) -> str:
        """What stands for a picture in a text."""
        return marker(seeing_library())

    def ids(self, text: str, pictures: Sequence[NDArray[np.float32]]) -> list[int]:
        """Token ids of a text with a marker for each picture, ``[channel, height, width]``.

        Raises:
            BackendUnavailable: where libmtmd cannot take them.
        """
        return self._tower.ids(text, [levels(pixels[None], self._settings)[0] for pixels in pictures], self._soft)


def levels(pixels: NDArray[np.float32], settings: ImageSettings) -> NDArray[np.uint8]:
    """The 256 levels ``[image, height, width, channel]`` that pixels were made of, which libmtmd scales itself."""
    spread = np.array(settings.deviation or (1.0,) * 3)[:, None, None]
    middle = np.array(settings.mean or (0.0,) * 3)[:, None, None]
    found = np.rint((pixels * spread + middle) / settings.rescale_factor)
    return np.ascontiguousarray(np.clip(found, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1))
