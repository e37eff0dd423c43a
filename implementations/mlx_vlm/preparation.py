"""What a user's call makes of a prompt before the model runs: the package's chat template, processor and loaders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_vlm.prompt_utils import apply_chat_template
from numpy.typing import NDArray

from implementations.mlx_vlm.imports import their_processor, utils
from parity.errors import BackendUnavailable
from parity.media import Prompt
from parity.tap import Tap

MEDIA = {
    "pixel_values": "processor.pixels",
    "input_features": "processor.mel",
    "input_features_mask": "processor.mel_mask",
}
"""What the processor makes of media, and the steps that it is."""


class Preparation:
    """The package's processor of one checkpoint, loaded when it is first needed.

    Args:
        checkpoint: its folder.
        config: the package's configuration of the model.
    """

    def __init__(self, checkpoint: Path, config: Any) -> None:
        self._checkpoint, self._config = checkpoint, config
        self._processor: Any = None

    def __call__(self, prompts: Sequence[Prompt], tap: Tap) -> tuple[NDArray[np.int64], dict[str, mx.array]]:
        """Prepare one user turn a row.

        Returns:
            Token ids ``[batch, token]``, and the keyword arguments of `get_input_embeddings`: ``pixel_values``
            ``[image, channel, height, width]``, ``input_features`` ``[clip, frame, mel]`` and ``input_features_mask``
            ``[clip, frame]``.

        Raises:
            BackendUnavailable: in the package's own words, for a prompt that it cannot prepare.
        """
        try:
            found = self._prepared(prompts)
        except Exception as error:  # whatever the package raises is its verdict on the prompt
            reason = " ".join(str(error).split())[:300]
            raise BackendUnavailable(f"mlx-vlm cannot prepare the prompt: {type(error).__name__}: {reason}") from error
        ids = tap("processor.token_ids", np.array(found["input_ids"], dtype=np.int64))
        media = {name: mx.array(tap(step, np.array(found[name]))) for name, step in MEDIA.items() if name in found}
        return ids, media

    def _prepared(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """The steps of `mlx_vlm.generate` for a prompt, of `batch_generate` for several."""
        processor = self._load()
        texts = [
            apply_chat_template(
                processor,
                self._config,
                "".join(part.value for part in prompt if part.kind == "text"),
                num_images=len(_files([prompt], "image")),
                num_audios=len(_files([prompt], "audio")),
            )
            for prompt in prompts
        ]
        found: dict[str, Any] = utils.prepare_inputs(
            processor,
            images=_files(prompts, "image") or None,
            audio=_files(prompts, "audio") or None,
            prompts=texts[0] if len(texts) == 1 else texts,
            image_token_index=self._config.image_token_index,
            add_special_tokens=utils.should_add_special_tokens(self._config.model_type, processor),
        )
        return found

    def _load(self) -> Any:
        if self._processor is None:
            with their_processor():
                self._processor = utils.load_processor(self._checkpoint, True, eos_token_ids=self._config.eos_token_id)
        return self._processor


def _files(prompts: Sequence[Prompt], kind: str) -> list[str]:
    return [part.value for prompt in prompts for part in prompt if part.kind == kind]
