"""Gemma 3n in the form in which Apple's Neural Engine runs it, in PyTorch.

Torch itself is imported when a checkpoint is loaded, not with this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from implementations.ane.options import MEANINGS, Options
from implementations.gemma3n.backend import Port
from implementations.gemma3n.preprocessing.inputs import Inputs, Sound
from parity.tap import SILENT, Tap

if TYPE_CHECKING:
    from torch import Tensor

    from implementations.ane.program import Program
    from implementations.ane.tensors import AneTensors


class Backend(Port):
    """Our implementation for the Neural Engine; see `MEANINGS` for its options."""

    name: ClassVar[str] = "ane"
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float16-ane")
    options: ClassVar[Mapping[str, str]] = MEANINGS
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    install: ClassVar[str] = "torch is not installed: pip install torch"

    def __init__(self, program: Program, tensors: AneTensors, checkpoint: Path) -> None:
        self._program = program
        super().__init__(tensors, program.ids, checkpoint)

    @classmethod
    def doctor(cls) -> Iterator[tuple[bool, str, str]]:
        """Whether torch is installed."""
        installed = find_spec("torch") is not None
        yield installed, "torch", cls.versions().get("torch", "") if installed else cls.install

    @classmethod
    def check(cls, options: Mapping[str, str]) -> None:
        """Refuse a value that cannot be."""
        Options.parse(options)

    @classmethod
    def from_checkpoint(cls, checkpoint: Path, dtype: str, options: Mapping[str, str]) -> Self:
        """Compile the parts of a checkpoint for the shapes that the options give."""
        chosen = Options.parse(options)
        from implementations.ane.loading import load

        return cls(*load(checkpoint, dtype, chosen), checkpoint)

    def renew(self, padding: tuple[int, ...], *, cache: bool) -> None:
        """Empty the caches, which are inputs of the compiled parts: a single chunk has them too."""
        self._program.start(padding)

    def see(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Soft tokens of pictures."""
        return self._program.senses.see(pixels, tap=SILENT)[:, :, 0].transpose(1, 2).numpy()

    def hear(self, sound: Sound) -> NDArray[np.float32]:
        """Soft tokens of clips."""
        return self._program.senses.hear(sound, tap=SILENT)[:, :, 0].transpose(1, 2).numpy()

    def run(self, inputs: Inputs, *, tap: Tap, last_only: bool) -> Tensor:
        """Run a chunk in calls of the compiled shapes.

        Raises:
            UsageError: for a chunk beyond the compiled context, or media that do not fit.
        """
        import torch

        ids = torch.from_numpy(inputs.token_ids)
        return self._program.run(ids, inputs.media, tap=tap, last_only=last_only)
