"""Loading: the GGUF file that is named, or one that is made of the checkpoint for as long as this process lives."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
from implementations.gguf.engine.library import library
from implementations.gguf.options import KINDS, PROCESSOR, Options
from implementations.gguf.program import Program
from implementations.gguf.session import Session
from parity.scratch import scratch

if TYPE_CHECKING:
    from implementations.gguf.senses import Senses
    from implementations.gguf.sight import Sight

_KEPT = ExitStack()
"""Folders of files that this process runs."""
atexit.register(_KEPT.close)


def load(checkpoint: Path, dtype: str, options: Options) -> Program:
    """The program of a checkpoint's file.

    Raises:
        UsageError: for another architecture, what GGUF cannot represent, or a file that cannot be read.
        BackendUnavailable: where llama.cpp is not installed, or is another build.
    """
    llama, config = library(), Config.from_directory(checkpoint)
    file = options.file or _made(checkpoint, KINDS[dtype])
    return Program(llama, Session(llama, file, options), config, options)


def outside(checkpoint: Path, program: Program, options: Options) -> tuple[Senses, Preprocessor]:
    """What stands around a program: what pictures and sounds become rows with, and prompts become ids with.

    Raises:
        UsageError: for prompts that libmtmd shall cut, or a file of a tower, where libmtmd is not for the checkpoint's
            pictures; or a file that is none of a tower.
    """
    from implementations.gguf.prompt import MtmdPreprocessor
    from implementations.gguf.senses import Senses

    look = cache(lambda: _sight(checkpoint, program, options))
    preprocessor = Preprocessor(checkpoint) if options.prompt == PROCESSOR else MtmdPreprocessor(checkpoint, look())
    if options.mmproj is not None:
        look()  # what is asked for is refused where it cannot be, and not done without
    return Senses(checkpoint, program.config, options.rows, look), preprocessor


def _sight(checkpoint: Path, program: Program, options: Options) -> Sight:
    """The vision tower of libmtmd.

    Raises:
        UsageError: for a language model alone, or a tower that libmtmd does not compute.
    """
    from implementations.gguf.sight import Sight

    folder = _KEPT.enter_context(scratch())
    return Sight(checkpoint, program.config, folder, program.watch.tensors, options)


def _made(checkpoint: Path, kind: str) -> Path:
    from implementations.gguf.convert import write_text

    file = _KEPT.enter_context(scratch()) / f"model-{kind}.gguf"
    write_text(checkpoint, file, kind)
    return file
