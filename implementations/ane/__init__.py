"""Gemma 3n in the form in which Apple's Neural Engine runs it, in PyTorch.

Torch itself is imported when a checkpoint is loaded, not with this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from implementations.ane.options import MEANINGS, Options
from implementations.gemma3n.preprocessing.inputs import NOTHING, Inputs, Media
from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
from parity.backend import Backend as Base
from parity.errors import BackendUnavailable, UsageError
from parity.generation import Message, Sampling
from parity.tap import SILENT, Hear, Tap, silence

if TYPE_CHECKING:
    from implementations.ane.program import Program
    from implementations.ane.tensors import AneTensors
    from implementations.gemma3n.dialogue import Dialogue
    from parity.media import Prompt

INSTALL = "torch is not installed: pip install torch"


class Backend(Base):
    """Our implementation for the Neural Engine."""

    name: ClassVar[str] = "ane"
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float16-ane")
    options: ClassVar[Mapping[str, str]] = MEANINGS

    def __init__(self, program: Program, tensors: AneTensors, checkpoint: Path) -> None:
        self.tensors = tensors
        self._program, self._preprocessor = program, Preprocessor(checkpoint)
        self._dialogue: Dialogue | None = None
        self.start(padding=(0,), cache=True)

    @classmethod
    def doctor(cls) -> Iterator[tuple[bool, str, str]]:
        """Whether torch is installed."""
        installed = find_spec("torch") is not None
        yield installed, "torch", cls.versions().get("torch", "") if installed else INSTALL

    @classmethod
    def versions(cls) -> Mapping[str, str]:
        """Version of torch."""
        try:
            return {"torch": version("torch")}
        except PackageNotFoundError:
            return {}

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, **options: str) -> Self:
        """Load a Hugging Face checkpoint directory as it is; see `MEANINGS` for the options.

        Raises:
            BackendUnavailable: when torch is not installed.
            UsageError: for an unknown dtype or option, another architecture, or weights that do not fit it.
        """
        if dtype not in cls.dtypes:
            raise UsageError(f"backend {cls.name} runs in {', '.join(cls.dtypes)}; not in {dtype}")
        chosen = Options.parse(options)
        try:
            from implementations.ane.loading import load
        except ImportError as error:
            raise BackendUnavailable(f"{INSTALL} ({error})") from error
        return cls(*load(checkpoint, dtype, chosen), checkpoint)

    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """Begin a conversation; keys and values of the last one are dropped."""
        self._cached = cache
        self._program.start(padding)

    def forward(
        self, token_ids: NDArray[np.int64], *, prompts: Sequence[Prompt] = (), tap: Tap = SILENT
    ) -> NDArray[Any]:
        """Run the next chunk of ``[batch, token]`` ids; returns logits ``[batch, token, vocabulary]``.

        Raises:
            UsageError: for ids outside the vocabulary, another batch, a chunk beyond the compiled context, a second
                chunk without a cache, or files that the model cannot take.
        """
        inputs = self._preprocessor.inputs(token_ids, prompts, tap=tap)
        return self._run(inputs, tap, last_only=False)

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
        return self._run(inputs, tap, last_only=True)[0, -1]

    def _run(self, inputs: Inputs, tap: Tap, *, last_only: bool) -> NDArray[Any]:
        import torch

        self._require_valid(inputs.token_ids)
        ids = torch.from_numpy(inputs.token_ids)
        logits = self._program.run(ids, inputs.media, tap=tap, last_only=last_only)
        return self.tensors.to_numpy(logits, None)

    def _require_valid(self, token_ids: NDArray[np.int64]) -> None:
        vocabulary, rows = self._program.config.vocab_size, self._program.rows
        if token_ids.ndim != 2 or token_ids.shape[0] != rows or token_ids.shape[1] == 0:
            raise UsageError(f"tokens of shape {token_ids.shape} for {rows} rows; at least one token a row")
        if token_ids.min() < 0 or token_ids.max() >= vocabulary:
            raise UsageError(f"token ids {token_ids.min()} to {token_ids.max()} in a vocabulary of {vocabulary}")
        if self._program.conversation.start and not self._cached:
            raise UsageError("a second chunk needs a cache: begin with start(cache=True)")
