"""Gemma 3n on MLX, through MLX's own fast operations.

MLX itself is imported when a checkpoint is loaded, not with this module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.backend import Port
from implementations.gemma3n.preprocessing.inputs import Inputs, Sound
from implementations.mlx.operations.blas import CURE, preload
from parity.tap import SILENT, Tap

if TYPE_CHECKING:
    import mlx.core as mx

    from implementations.mlx.model import Gemma3n


class Backend(Port):
    """Our implementation for MLX."""

    name: ClassVar[str] = "mlx"
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bfloat16", "float16")
    packages: ClassVar[tuple[str, ...]] = ("mlx", "mlx-cpu", "mlx-metal", "mlx-cuda")
    install: ClassVar[str] = "MLX is not installed: pip install 'mlx' (Apple Silicon) or 'mlx[cpu]' (Linux)"

    def __init__(self, model: Gemma3n, checkpoint: Path) -> None:
        from implementations.mlx.tensors import MlxTensors

        self._model = model
        super().__init__(MlxTensors(), model.config.ids, checkpoint)

    @classmethod
    def environment(cls) -> Mapping[str, str]:
        """OpenBLAS on Linux, and float32 products that are float32's.

        On Apple's M5 and on CUDA, MLX rounds their inputs to TF32's 10 bits of mantissa by default, a thousand times
        the error (ml-explore/mlx 3860).
        """
        library = preload(os.environ.get("LD_PRELOAD", ""))
        preloaded = {} if library is None else {"LD_PRELOAD": library}
        return {"MLX_ENABLE_TF32": os.environ.get("MLX_ENABLE_TF32", "0"), **preloaded}

    @classmethod
    def environments(cls) -> Mapping[str, Mapping[str, str]]:
        """The wheel's own BLAS where OpenBLAS is, and OpenBLAS's code for processors of another age."""
        if preload(os.environ.get("LD_PRELOAD", "")) is None:
            return {}
        return {"the wheel's BLAS": {"LD_PRELOAD": ""}, "OpenBLAS for SSE": {"OPENBLAS_CORETYPE": "Nehalem"}}

    @classmethod
    def doctor(cls) -> Iterator[tuple[bool, str, str]]:
        """Whether MLX is installed and, on Linux, whether an optimised BLAS will be preloaded."""
        installed = find_spec("mlx") is not None
        found = ", ".join(f"{name} {number}" for name, number in cls.versions().items())
        yield installed, "mlx", found if installed else cls.install
        if sys.platform.startswith("linux"):
            value = cls.environment().get("LD_PRELOAD") or os.environ.get("LD_PRELOAD", "")
            fast = "blas" in value
            yield fast, "BLAS", f"LD_PRELOAD={value}" if fast else CURE

    @classmethod
    def from_checkpoint(cls, checkpoint: Path, dtype: str, options: Mapping[str, str]) -> Self:
        """Build the model and load its weights, rounded to `dtype`."""
        import mlx.core as mx

        from implementations.mlx.weights import load_model

        return cls(load_model(checkpoint, getattr(mx, dtype)), checkpoint)

    def renew(self, padding: tuple[int, ...], *, cache: bool) -> None:
        """Begin with empty caches."""
        from implementations.mlx.cache import Conversation

        self._conversation = Conversation(self._model.config.text, padding=padding, cache=cache)

    def see(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Soft tokens of pictures."""
        return self._alone(self._model.model.see, pixels)

    def hear(self, sound: Sound) -> NDArray[np.float32]:
        """Soft tokens of clips."""
        return self._alone(self._model.model.hear, sound)

    def run(self, inputs: Inputs, *, tap: Tap, last_only: bool) -> mx.array:
        """Compute a chunk's logits, and with them the caches, so that no graph outlives its chunk."""
        import mlx.core as mx

        ids = mx.array(inputs.token_ids.astype(np.int32))
        logits = self._model(ids, inputs.media, self._conversation, tap=tap, last_only=last_only)
        mx.eval(logits, self._conversation.state)
        return logits

    def _alone(self, sense: Callable[..., mx.array], given: object) -> NDArray[np.float32]:
        """What a tower and its embedder make, in float32 whatever they compute in."""
        dtype = self._model.model.language_model.embed_tokens.weight.dtype
        return self.tensors.to_numpy(sense(given, dtype, SILENT), None).astype(np.float32)
