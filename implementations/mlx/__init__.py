"""Gemma 3n on MLX, through MLX's own fast operations.

MLX itself is imported when a checkpoint is loaded, not with this module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.preprocessing.inputs import NOTHING, Inputs, Media
from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
from implementations.mlx.blas import CURE, preload
from parity.backend import Backend as Base
from parity.errors import BackendUnavailable, UsageError
from parity.generation import Message, Sampling
from parity.media import Prompt
from parity.tap import SILENT, Hear, Tap, silence

if TYPE_CHECKING:
    import mlx.core as mx

    from implementations.gemma3n.dialogue import Dialogue
    from implementations.mlx.model import Gemma3n

INSTALL = "MLX is not installed: pip install 'mlx' (Apple Silicon) or 'mlx[cpu]' (Linux)"


class Backend(Base):
    """Our implementation for MLX."""

    name: ClassVar[str] = "mlx"
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bfloat16", "float16")

    def __init__(self, model: Gemma3n, checkpoint: Path) -> None:
        from implementations.mlx.tensors import MlxTensors

        self.tensors = MlxTensors()
        self._model, self._preprocessor = model, Preprocessor(checkpoint)
        self._dialogue: Dialogue | None = None
        self.start(padding=(0,), cache=True)

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
        yield installed, "mlx", found if installed else INSTALL
        if sys.platform.startswith("linux"):
            value = cls.environment().get("LD_PRELOAD") or os.environ.get("LD_PRELOAD", "")
            fast = "blas" in value
            yield fast, "BLAS", f"LD_PRELOAD={value}" if fast else CURE

    @classmethod
    def versions(cls) -> Mapping[str, str]:
        """Versions of MLX and of the wheel that holds its kernels."""
        found = {name: _version(name) for name in ("mlx", "mlx-cpu", "mlx-metal", "mlx-cuda")}
        return {name: number for name, number in found.items() if number}

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, **options: str) -> Self:
        """Load a Hugging Face checkpoint directory as it is.

        Raises:
            BackendUnavailable: when MLX is not installed.
            UsageError: for an unknown dtype, another architecture, or weights that do not fit it.
        """
        if dtype not in cls.dtypes:
            raise UsageError(f"backend {cls.name} runs in {', '.join(cls.dtypes)}; not in {dtype}")
        try:
            import mlx.core as mx

            from implementations.mlx.weights import load_model
        except ImportError as error:
            raise BackendUnavailable(f"{INSTALL} ({error})") from error
        return cls(load_model(checkpoint, getattr(mx, dtype)), checkpoint)

    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """Begin a conversation; keys and values of the last one are dropped."""
        from implementations.mlx.cache import Conversation

        self._rows, self._cached = len(padding), cache
        self._conversation = Conversation(self._model.config.text, padding=padding, cache=cache)

    def forward(
        self, token_ids: NDArray[np.int64], *, prompts: Sequence[Prompt] = (), tap: Tap = SILENT
    ) -> NDArray[Any]:
        """Run the next chunk of ``[batch, token]`` ids; returns logits ``[batch, token, vocabulary]``.

        Raises:
            UsageError: for ids outside the vocabulary, another batch, a second chunk without a cache, or files that the
                model cannot take.
        """
        inputs = self._preprocessor.inputs(token_ids, prompts, tap=tap)
        return self._evaluate(self._run(inputs, tap, last_only=False))

    def generate(self, messages: Sequence[Message], sampling: Sampling, *, hear: Hear = silence) -> Iterator[str]:
        """Pieces of text as they are decoded; a conversation that goes on is read from where it was left."""
        from implementations.gemma3n.dialogue import Dialogue

        if self._dialogue is None:
            self._dialogue = Dialogue(self, self._preprocessor)
        yield from self._dialogue.reply(messages, sampling, hear=hear)

    def begin(self) -> None:
        """Begin a conversation of one row."""
        self.start(padding=(0,), cache=True)

    def read(self, token_ids: list[int], media: Media = NOTHING, *, tap: Tap = SILENT) -> NDArray[Any]:
        """Run the next chunk of one row; returns logits behind its last token, ``[vocabulary]``."""
        inputs = Inputs(np.array([token_ids], dtype=np.int64), media)
        return self._evaluate(self._run(inputs, tap, last_only=True))[0, -1]

    def _run(self, inputs: Inputs, tap: Tap, *, last_only: bool) -> mx.array:
        import mlx.core as mx

        self._require_valid(inputs.token_ids)
        ids = mx.array(inputs.token_ids.astype(np.int32))
        return self._model(ids, inputs.media, self._conversation, tap=tap, last_only=last_only)

    def _evaluate(self, logits: mx.array) -> NDArray[Any]:
        """Compute a chunk's logits, and with them the caches, so that no graph outlives its chunk."""
        import mlx.core as mx

        mx.eval(logits, self._conversation.state)
        return self.tensors.to_numpy(logits, None)

    def _require_valid(self, token_ids: NDArray[np.int64]) -> None:
        vocabulary = self._model.config.text.vocab_size
        if token_ids.ndim != 2 or token_ids.shape[0] != self._rows or token_ids.shape[1] == 0:
            raise UsageError(f"tokens of shape {token_ids.shape} for {self._rows} rows; at least one token a row")
        if token_ids.min() < 0 or token_ids.max() >= vocabulary:
            raise UsageError(f"token ids {token_ids.min()} to {token_ids.max()} in a vocabulary of {vocabulary}")
        if self._conversation.start and not self._cached:
            raise UsageError("a second chunk needs a cache: begin with start(cache=True)")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
