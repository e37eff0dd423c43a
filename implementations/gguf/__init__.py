"""Gemma 3n as llama.cpp runs it: the installed library, tapped at the nodes of its own graph.

The library is opened when a checkpoint is loaded, not with this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from numpy.typing import NDArray

from implementations.gemma3n.backend import Port
from implementations.gemma3n.preprocessing.inputs import Inputs
from implementations.gguf.graph import UNSEEN
from implementations.gguf.options import KINDS, MEANINGS, Options
from parity.errors import ParityError
from parity.fault import Subject
from parity.tap import Tap

if TYPE_CHECKING:
    from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
    from implementations.gguf.program import Program
    from implementations.gguf.senses import Senses


class Backend(Port):
    """llama.cpp, as installed, on a GGUF file of the checkpoint; see `MEANINGS` for its options."""

    name: ClassVar[str] = "llama-cpp"
    dtypes: ClassVar[tuple[str, ...]] = tuple(KINDS)
    options: ClassVar[Mapping[str, str]] = MEANINGS
    hidden: Mapping[str, str] = MappingProxyType(UNSEEN)
    packages: ClassVar[tuple[str, ...]] = ("xllamacpp", "gguf")
    install: ClassVar[str] = "llama.cpp is not installed: pip install 'gemma3n-parity[gguf]'"

    def __init__(self, program: Program, senses: Senses, preprocessor: Preprocessor) -> None:
        self._program, self._senses = program, senses
        super().__init__(program.watch.tensors, program.config.ids, preprocessor.checkpoint, preprocessor)

    @classmethod
    def environment(cls) -> Mapping[str, str]:
        """An abort says where it was; a debugger, which it would start for more, is not wanted."""
        return {"GGML_NO_BACKTRACE": "1"}

    @classmethod
    def doctor(cls) -> Iterator[tuple[bool, str, str]]:
        """Whether llama.cpp is installed, in the build that is declared here, and what writes its files."""
        from implementations.gguf.engine.library import PACKAGE, library

        try:
            library()
            yield True, PACKAGE, cls.versions()[PACKAGE]
        except (ImportError, ParityError) as error:
            yield False, PACKAGE, str(error) if isinstance(error, ParityError) else cls.install
        installed = find_spec("gguf") is not None
        yield installed, "gguf", cls.versions().get("gguf", "") if installed else cls.install

    @classmethod
    def subject(cls) -> Subject:
        """What it does otherwise, which the reference is edited to do too."""
        from implementations.gguf.deviations import subject

        return subject(cls.packages[0])

    @classmethod
    def check(cls, options: Mapping[str, str]) -> None:
        """Refuse a value that cannot be."""
        Options.parse(options)

    @classmethod
    def from_checkpoint(cls, checkpoint: Path, dtype: str, options: Mapping[str, str]) -> Self:
        """Run the file that is named, or one that is made of the checkpoint."""
        chosen = Options.parse(options)
        from implementations.gguf.loading import load, outside

        program = load(checkpoint, dtype, chosen)
        return cls(program, *outside(checkpoint, program, chosen))

    def renew(self, padding: tuple[int, ...], *, cache: bool) -> None:
        """Empty llama.cpp's cache, which a single chunk has too."""
        self._program.start(padding)

    def run(self, inputs: Inputs, *, tap: Tap, last_only: bool) -> NDArray[Any]:
        """Run a chunk.

        Raises:
            UsageError: for media that do not fit the ids, or more tokens than there is room for.
        """
        soft = self._senses.soft(inputs.media, tap=tap)
        return self._program.run(inputs.token_ids, soft, tap=tap, last_only=last_only)
