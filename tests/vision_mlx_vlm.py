"""The vision path of the installed mlx-vlm alone, as a party: its own loader and model, pixels in, soft tokens out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from implementations.mlx.tensors import MlxTensors
from implementations.mlx_packages.patch import Patch, edits_of
from implementations.mlx_packages.woven import Woven
from implementations.mlx_vlm import Backend
from implementations.mlx_vlm.loading import load_model
from implementations.mlx_vlm.patches import PATCHES
from implementations.mlx_vlm.sites import place_of
from implementations.mlx_vlm.vision_sites import VISION_STEPS
from parity.fault import chosen
from parity.tap import SILENT, Tap
from tests.vision_parties import NO_LOGITS, write_alone


class VisionMlxVlm(Backend):
    """What mlx-vlm makes of pixels on a prompt's way into the model: the vision path's steps of it, and no others.

    Args:
        model: the package's.
        pixels: ``[image, channel, height, width]``, as its processor would hand them over.
        patches: faults that are mended.
    """

    hidden = {}  # noqa: RUF012  # every step of the path has a tap

    def __init__(self, model: Any, pixels: NDArray[np.float32], patches: Sequence[Patch]) -> None:
        self.tensors = MlxTensors()
        self._model, self._pixels = model, mx.array(pixels)
        self._woven = Woven(model, VISION_STEPS, place_of, edits_of(patches))

    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """There is no conversation."""

    def forward(self, token_ids: NDArray[np.int64], *, prompts: Any = (), tap: Tap = SILENT) -> NDArray[Any]:
        """Embed a prompt of placeholders alone, which merges every soft token."""
        config = self._model.config
        count = len(self._pixels) * config.vision_soft_tokens_per_image
        placeholders = mx.full((1, count), config.image_token_id)
        with self._woven.listening(tap):
            embedded = self._model.get_input_embeddings(placeholders, mask=None, pixel_values=self._pixels)
            mx.eval(embedded.inputs_embeds)
        return NO_LOGITS


def main(patch: str, checkpoint: str, pixels: str, oracle: str, output: str) -> None:
    """Run with the faults mended that `patch` names, as in ``mlx-vlm@patch=NAME``; none where it is empty."""
    patches = chosen(Backend.name, PATCHES, patch)
    model = load_model(Path(checkpoint), "float32", patches)
    write_alone(VisionMlxVlm(model, np.load(pixels), patches), oracle, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
