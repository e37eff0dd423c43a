"""The installed mlx-vlm package, woven: its own loader, processor, model and caches, with taps in its source.

mlx-vlm itself is imported when a checkpoint is loaded, not with this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from implementations.mlx_packages.backend import Package
from implementations.mlx_vlm.media import AUDITED
from parity.errors import UsageError
from parity.fault import Inputs
from parity.media import Prompt
from parity.tap import SILENT, Tap

if TYPE_CHECKING:
    from implementations.mlx_packages.patch import Patch

UNEMBEDDED = "mlx-vlm embeds no ids of pictures and sounds where a chunk has neither"


class Backend(Package):
    """mlx-vlm's Gemma 3n, as installed: text, pictures and sounds."""

    name: ClassVar[str] = "mlx-vlm"
    requirement: ClassVar[str] = "mlx-vlm>=0.7.10,<0.8"
    media: ClassVar[tuple[Inputs, ...]] = AUDITED
    hidden: Mapping[str, str] = MappingProxyType(
        {
            "text.position_ids": "each layer reads its cache's offset; attn.q_rope and attn.k_rope show where",
            "text.rope.*.inv_freq": "mx.fast.rope makes the frequencies of the base inside its kernel",
            "embed_vision.hard": UNEMBEDDED,
            "embed_audio.hard": UNEMBEDDED,
        }
    )

    def __init__(self, model: Any, checkpoint: Path, patches: Sequence[Patch] = ()) -> None:
        from implementations.mlx.tensors import MlxTensors
        from implementations.mlx_packages.patch import edits_of
        from implementations.mlx_packages.woven import Woven
        from implementations.mlx_vlm.preparation import Preparation
        from implementations.mlx_vlm.sites import place_of

        self.tensors = MlxTensors()
        self._model = model
        self._prepare = Preparation(checkpoint, model.config)
        self._woven = Woven(model, self.steps(), place_of, edits_of(patches))
        self.start(padding=(0,), cache=True)

    @classmethod
    def read(cls, checkpoint: Path, dtype: str, patches: Sequence[Patch]) -> Self:
        """Load a checkpoint with mlx-vlm's own loader, then cast it with `set_dtype`."""
        from implementations.mlx_vlm.loading import load_model

        return cls(load_model(checkpoint, dtype, patches), checkpoint, patches)

    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """Begin a conversation with the package's own caches; those of the last one are dropped."""
        from implementations.mlx_vlm.running import Conversation

        if any(padding) and not cache:
            raise UsageError("mlx-vlm reads left padding from its caches: a padded batch needs start(cache=True)")
        self._conversation = Conversation(self._model, padding, cache=cache)

    def forward(
        self, token_ids: NDArray[np.int64], *, prompts: Sequence[Prompt] = (), tap: Tap = SILENT
    ) -> NDArray[Any]:
        """Run the next chunk of ``[batch, token]`` ids; returns logits ``[batch, token, vocabulary]``.

        Raises:
            BackendUnavailable: for a prompt that the package cannot prepare.
        """
        import mlx.core as mx

        with self._woven.listening(tap):
            ids, media = self._prepare(prompts, tap) if prompts else (token_ids, {})
            logits = self._conversation(mx.array(ids.astype(np.int32)), media)
        mx.eval(logits, [cache.state for cache in self._conversation.cache])
        return self.tensors.to_numpy(logits, None)
