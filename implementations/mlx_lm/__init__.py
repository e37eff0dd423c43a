"""The installed mlx-lm package, woven: its own loader, model and caches, with taps at named places of its source.

mlx-lm itself is imported when a checkpoint is loaded, not with this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from implementations.mlx_packages.backend import Package
from parity.errors import BackendUnavailable, UsageError
from parity.media import Prompt
from parity.tap import SILENT, Tap

if TYPE_CHECKING:
    from mlx_lm.models.gemma3n import Model

    from implementations.mlx_packages.patch import Patch

TEXT_ONLY = "mlx-lm is for text: it drops the embedders of pictures and sounds, and embeds their ids as text"


class Backend(Package):
    """mlx-lm's Gemma 3n, as installed. It reads text alone."""

    name: ClassVar[str] = "mlx-lm"
    requirement: ClassVar[str] = "mlx-lm>=0.32.2,<0.33"
    hidden: Mapping[str, str] = MappingProxyType(
        {
            "text.rope.*.inv_freq": "mx.fast.rope makes the frequencies of the base inside its kernel",
            "embed_vision.hard": TEXT_ONLY,
            "embed_audio.hard": TEXT_ONLY,
        }
    )

    def __init__(self, model: Model, patches: Sequence[Patch] = ()) -> None:
        from implementations.mlx.tensors import MlxTensors
        from implementations.mlx_packages.patch import edits_of
        from implementations.mlx_packages.text import place_of
        from implementations.mlx_packages.woven import Woven

        self.tensors = MlxTensors()
        self._model = model
        self._woven = Woven(model, self.steps(), lambda name, module: place_of(name), edits_of(patches))
        self.start(padding=(0,), cache=True)

    @classmethod
    def read(cls, checkpoint: Path, dtype: str, patches: Sequence[Patch]) -> Self:
        """Load a checkpoint with mlx-lm's own loader, then cast it with `set_dtype`, as its users do."""
        from implementations.mlx_lm.loading import load_model

        return cls(load_model(checkpoint, dtype, patches), patches)

    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """Begin a conversation with the package's own caches; those of the last one are dropped."""
        from implementations.mlx_lm.caches import caches

        self._cache = caches(self._model, padding) if cache else None
        if any(padding) and not cache:
            raise UsageError("mlx-lm reads left padding from its caches: a padded batch needs start(cache=True)")

    def forward(
        self, token_ids: NDArray[np.int64], *, prompts: Sequence[Prompt] = (), tap: Tap = SILENT
    ) -> NDArray[Any]:
        """Run the next chunk of ``[batch, token]`` ids; returns logits ``[batch, token, vocabulary]``.

        Raises:
            BackendUnavailable: for a prompt that the backend would have to make its own ids of.
        """
        import mlx.core as mx

        if prompts:
            raise BackendUnavailable("mlx-lm takes token ids of text: run a scenario without a picture or sound")
        with self._woven.listening(tap):
            logits = self._model(mx.array(token_ids.astype(np.int32)), cache=self._cache)
        mx.eval(logits, [cache.state for cache in self._cache or ()])
        return self.tensors.to_numpy(logits, None)
