"""A Hugging Face checkpoint as files in GGUF. The package `gguf` is imported when a file is written, not with this."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Told = Callable[[str], None]
"""Told what is written next."""


def write_text(checkpoint: Path, file: Path, kind: str, told: Told = lambda what: None) -> None:
    """Write a checkpoint's language model as one file.

    Args:
        checkpoint: a Hugging Face folder.
        file: where to; what is there is written over.
        kind: the number type of the matrices, as ``f32``.
        told: told each tensor's name before it is written.

    Raises:
        UsageError: for a type that is not known, a checkpoint that is not whole or not of Gemma 3n, or what the runtime
            cannot represent.
        CannotWrite: where there is no room or no leave.
    """
    from gguf import GGUFWriter

    from implementations.gemma3n.config import Config
    from implementations.gguf.convert.header import ARCHITECTURE, describe
    from implementations.gguf.convert.kinds import kind_of
    from implementations.gguf.convert.limits import require_representable
    from implementations.gguf.convert.text import Text
    from implementations.gguf.convert.vocabulary import Vocabulary
    from implementations.gguf.convert.writing import write_file

    chosen, config = kind_of(kind), Config.from_directory(checkpoint)
    require_representable(checkpoint, config)
    text = Text.of(checkpoint, config)
    writer = GGUFWriter(file, ARCHITECTURE)
    describe(writer, config.text, chosen, checkpoint.name)
    Vocabulary.of(checkpoint, config.text.vocab_size).describe(writer)
    write_file(writer, file, text.tensors(chosen), told)
