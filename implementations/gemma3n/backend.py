"""What our own implementations have in common as backends: they read ids and media, and answer.

A further one is a model, its `Tensors` and an entry point; `Port` does the rest.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.dialogue import Dialogue
from implementations.gemma3n.preprocessing.inputs import NOTHING, Inputs, Media, Sound
from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
from parity.backend import Backend, Tensors
from parity.errors import BackendUnavailable, UsageError
from parity.generation import Finish, Message, Sampling
from parity.media import Prompt
from parity.tap import SILENT, Hear, Tap, silence


class Port(Backend):
    """Our own port of Gemma 3n to a framework, which `from_checkpoint` imports.

    Args:
        tensors: how the framework's tensors become NumPy's.
        vocabulary: how many token ids the model has an embedding for.
        checkpoint: the directory whose preprocessing the model was trained with.
        preprocessor: of another that makes ids itself; by default the checkpoint's.

    Attributes:
        packages: distributions that the arithmetic runs on; not every machine has all of them.
        install: what to do where the framework is not installed.
    """

    packages: ClassVar[tuple[str, ...]]
    install: ClassVar[str]

    def __init__(
        self, tensors: Tensors, vocabulary: int, checkpoint: Path, preprocessor: Preprocessor | None = None
    ) -> None:
        self.tensors = tensors
        self._vocabulary, self._preprocessor = vocabulary, preprocessor or Preprocessor(checkpoint)
        self._dialogue: Dialogue | None = None
        self.begin()

    @classmethod
    @abstractmethod
    def from_checkpoint(cls, checkpoint: Path, dtype: str, options: Mapping[str, str]) -> Self:
        """What `load` does once the dtype is known to be one of `dtypes`.

        Raises:
            ImportError: when the framework is not installed.
            UsageError: for an option's value that cannot be, another architecture, or weights that do not fit it.
        """

    @abstractmethod
    def renew(self, padding: tuple[int, ...], *, cache: bool) -> None:
        """Drop keys and values; the next conversation has ``len(padding)`` rows, each left-padded by so many tokens.

        Without a cache it is a single chunk.
        """

    @abstractmethod
    def run(self, inputs: Inputs, *, tap: Tap, last_only: bool) -> Any:
        """Run the next chunk and keep its keys and values; all ids are the vocabulary's.

        Returns:
            Logits ``[batch, token or 1, vocabulary]`` in the framework's tensors; of the last token with `last_only`.
        """

    def see(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Soft tokens ``[image, token, hidden]`` of pictures ``[image, channel, height, width]``.

        They are for a runtime that has no tower of its own, as the language model takes them.

        Raises:
            UsageError: for a port that does not hand them out, or a language model alone.
        """
        raise UsageError(f"backend {self.name} hands out no soft tokens; name another one, as mlx")

    def hear(self, sound: Sound) -> NDArray[np.float32]:
        """Soft tokens ``[clip, token, hidden]`` of clips, of each as many as the prompt has places for; as `see`."""
        raise UsageError(f"backend {self.name} hands out no soft tokens; name another one, as mlx")

    @classmethod
    def versions(cls) -> Mapping[str, str]:
        """Versions of those of `packages` that are installed."""
        found = {}
        for name in cls.packages:
            with suppress(PackageNotFoundError):
                found[name] = version(name)
        return found

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, **options: str) -> Self:
        """Load a Hugging Face checkpoint directory as it is.

        Raises:
            BackendUnavailable: when the framework is not installed.
            UsageError: for an unknown dtype or option, another architecture, or weights that do not fit it.
        """
        if dtype not in cls.dtypes:
            raise UsageError(f"backend {cls.name} runs in {', '.join(cls.dtypes)}; not in {dtype}")
        try:
            return cls.from_checkpoint(checkpoint, dtype, options)
        except ImportError as error:
            raise BackendUnavailable(f"{cls.install} ({error})") from error

    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """Begin a conversation; keys and values of the last one are dropped."""
        self._rows, self._cached, self._begun = len(padding), cache, False
        self.renew(padding, cache=cache)

    def forward(
        self, token_ids: NDArray[np.int64], *, prompts: Sequence[Prompt] = (), tap: Tap = SILENT
    ) -> NDArray[Any]:
        """Run the next chunk of ``[batch, token]`` ids; returns logits ``[batch, token, vocabulary]``.

        Raises:
            UsageError: for ids outside the vocabulary, another batch, a second chunk without a cache, files that the
                model cannot take, or what else the model has no room for.
        """
        return self._logits(self._preprocessor.inputs(token_ids, prompts, tap=tap), tap, last_only=False)

    def generate(
        self, messages: Sequence[Message], sampling: Sampling, *, hear: Hear = silence
    ) -> Generator[str, None, Finish]:
        """Pieces of text as they are decoded; a conversation that goes on is read from where it was left."""
        if self._dialogue is None:
            self._dialogue = Dialogue(self, self._preprocessor)
        return (yield from self._dialogue.reply(messages, sampling, hear=hear))

    def begin(self) -> None:
        """Begin a conversation of one row."""
        self.start(padding=(0,), cache=True)

    def read(self, token_ids: list[int], media: Media = NOTHING, *, tap: Tap = SILENT) -> NDArray[Any]:
        """Run the next chunk of one row; returns logits behind its last token, ``[vocabulary]``."""
        inputs = Inputs(np.array([token_ids], dtype=np.int64), media)
        return self._logits(inputs, tap, last_only=True)[0, -1]

    def _logits(self, inputs: Inputs, tap: Tap, *, last_only: bool) -> NDArray[Any]:
        self._require_valid(inputs.token_ids)
        logits = self.run(inputs, tap=tap, last_only=last_only)
        self._begun = True
        return self.tensors.to_numpy(logits, None)

    def _require_valid(self, token_ids: NDArray[np.int64]) -> None:
        if token_ids.ndim != 2 or token_ids.shape[0] != self._rows or token_ids.shape[1] == 0:
            raise UsageError(f"tokens of shape {token_ids.shape} for {self._rows} rows; at least one token a row")
        if token_ids.min() < 0 or token_ids.max() >= self._vocabulary:
            found = f"token ids {token_ids.min()} to {token_ids.max()}"
            raise UsageError(f"{found} in a vocabulary of {self._vocabulary}: the others have no embedding")
        if self._begun and not self._cached:
            raise UsageError("a second chunk needs a cache: begin with start(cache=True)")
