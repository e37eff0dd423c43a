"""Gemma 3n as Core ML packages, whose saved programs are run operation by operation.

coremltools and torch are imported when a checkpoint is loaded, not with this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from implementations.coreml.options import MEANINGS, Options
from implementations.coreml.package.settings import PRECISIONS
from implementations.gemma3n.backend import Port
from implementations.gemma3n.preprocessing.inputs import Inputs
from parity.errors import BackendUnavailable
from parity.tap import Tap

if TYPE_CHECKING:
    from torch import Tensor

    from implementations.ane.program import Program
    from implementations.ane.tensors import AneTensors
    from implementations.coreml.model import Packaged


class Backend(Port):
    """Our implementation for Core ML: the checkpoint's own conversion, or a package; see `MEANINGS` for options."""

    name: ClassVar[str] = "coreml"
    dtypes: ClassVar[tuple[str, ...]] = tuple(PRECISIONS.values())
    options: ClassVar[Mapping[str, str]] = MEANINGS
    packages: ClassVar[tuple[str, ...]] = ("coremltools", "torch")
    install: ClassVar[str] = "coremltools is not installed: pip install 'gemma3n-parity[coreml]'"

    def __init__(self, program: Program, model: Packaged, tensors: AneTensors, checkpoint: Path) -> None:
        self._program, self._model = program, model
        super().__init__(tensors, program.ids, checkpoint)

    @classmethod
    def doctor(cls) -> Iterator[tuple[bool, str, str]]:
        """Whether coremltools and torch are installed."""
        found = cls.versions()
        for name in cls.packages:
            installed = find_spec(name) is not None
            yield installed, name, found.get(name, "") if installed else cls.install

    @classmethod
    def check(cls, options: Mapping[str, str]) -> None:
        """Refuse a value that cannot be."""
        Options.parse(options)

    @classmethod
    def has_weights(cls, options: Mapping[str, str]) -> bool:
        """Whether matrices are in palettes or integers, and so the checkpoint's rounded."""
        return Options.parse(options).fewer_bits

    @classmethod
    def write_weights(cls, checkpoint: Path, file: Path, options: Mapping[str, str]) -> None:
        """Write the numbers that palettes and integers stand for."""
        try:
            from implementations.coreml.loading import write_weights
        except ImportError as error:
            raise BackendUnavailable(f"{cls.install} ({error})") from error
        write_weights(checkpoint, Options.parse(options), file)

    @classmethod
    def from_checkpoint(cls, checkpoint: Path, dtype: str, options: Mapping[str, str]) -> Self:
        """Run the package that is named, or the checkpoint's own, which is converted where none is kept."""
        chosen = Options.parse(options)
        from implementations.coreml.loading import load

        return cls(*load(checkpoint, chosen, dtype))

    def renew(self, padding: tuple[int, ...], *, cache: bool) -> None:
        """Empty the caches: a single chunk has them too."""
        self._model.renew()
        self._program.start(padding)

    def run(self, inputs: Inputs, *, tap: Tap, last_only: bool) -> Tensor:
        """Run a chunk in calls of the compiled shapes.

        Raises:
            UsageError: for a chunk beyond the compiled context, or media that do not fit.
        """
        import torch

        ids = torch.from_numpy(inputs.token_ids)
        return self._program.run(ids, inputs.media, tap=tap, last_only=last_only)
