"""Gemma 3n as ONNX graphs, run by ONNX Runtime.

ONNX, ONNX Runtime and torch, which exports, are imported when a checkpoint is loaded, not with this module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from numpy.typing import NDArray

from implementations.gemma3n.backend import Port
from implementations.gemma3n.preprocessing.inputs import Inputs
from implementations.onnx.options import MEANINGS, Options
from implementations.onnx.package.types import BLOCKS, FLOAT32, INTEGER
from parity.errors import BackendUnavailable
from parity.host_tensors import HostTensors
from parity.tap import Tap

if TYPE_CHECKING:
    from implementations.onnx.program import Program

TUNABLES, LARGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
"""glibc's variable, and what has it ask the system for pages of 2 MB: a token reads every weight once, which takes a
tenth less time where there are few pages to find."""
UNMARKED = {"*": "the package has no steps.json, which would say where in its graphs it is"}
"""Why a package of others shows what goes into its graphs and comes out of them, and no more."""


class Backend(Port):
    """Our implementation for ONNX Runtime: the checkpoint's own export, or a package; see `MEANINGS` for options."""

    name: ClassVar[str] = "onnx"
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float16", INTEGER, BLOCKS)
    options: ClassVar[Mapping[str, str]] = MEANINGS
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime", "onnx", "onnxscript", "torch")
    install: ClassVar[str] = "ONNX Runtime is not installed: pip install 'gemma3n-parity[onnx]'"

    def __init__(self, program: Program, checkpoint: Path) -> None:
        self._program = program
        if not program.marked:
            self.hidden = UNMARKED
        super().__init__(HostTensors(), program.config.ids, checkpoint)

    @classmethod
    def environment(cls) -> Mapping[str, str]:
        """Large pages on Linux, where the user has not tuned glibc otherwise."""
        return {TUNABLES: os.environ.get(TUNABLES, LARGE_PAGES)} if sys.platform == "linux" else {}

    @classmethod
    def doctor(cls) -> Iterator[tuple[bool, str, str]]:
        """Whether ONNX Runtime is installed, and what exports for it."""
        found = cls.versions()
        for name in ("onnxruntime", "onnx", "onnxscript"):
            installed = find_spec(name) is not None
            yield installed, name, found.get(name, "") if installed else cls.install

    @classmethod
    def check(cls, options: Mapping[str, str]) -> None:
        """Refuse a value that cannot be."""
        Options.parse(options)

    @classmethod
    def has_weights(cls, options: Mapping[str, str]) -> bool:
        """Whether the graphs are in another format than float32, and so have the checkpoint's weights rounded."""
        return Options.parse(options).type != FLOAT32

    @classmethod
    def write_weights(cls, checkpoint: Path, file: Path, options: Mapping[str, str]) -> None:
        """Write the numbers that the graphs' weights stand for."""
        try:
            from implementations.onnx.loading import write_weights
        except ImportError as error:
            raise BackendUnavailable(f"{cls.install} ({error})") from error
        write_weights(checkpoint, Options.parse(options), file)

    @classmethod
    def from_checkpoint(cls, checkpoint: Path, dtype: str, options: Mapping[str, str]) -> Self:
        """Run the package that is named, or the checkpoint's own graphs, which are exported where none are kept."""
        chosen = Options.parse(options)
        from implementations.onnx.loading import load

        return cls(*load(checkpoint, chosen, dtype))

    def renew(self, padding: tuple[int, ...], *, cache: bool) -> None:
        """Drop keys and values, which are inputs of the graph: a single chunk has them too."""
        self._program.start(padding)

    def run(self, inputs: Inputs, *, tap: Tap, last_only: bool) -> NDArray[Any]:
        """Run a chunk.

        Raises:
            UsageError: for media that the package has no graph for, or that do not fit it or the ids.
        """
        return self._program.run(inputs.token_ids, inputs.media, tap=tap, last_only=last_only)
