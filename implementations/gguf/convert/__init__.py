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
        BackendUnavailable: for a type that llama.cpp itself makes, where it is not installed.
        UsageError: for a type that is not known, a checkpoint that is not whole or not of Gemma 3n, or what the runtime
            cannot represent.
        CannotWrite: where there is no room or no leave.
    """
    from implementations.gguf.convert.conversion import Conversion
    from implementations.gguf.convert.kinds import kind_of

    chosen = kind_of(kind)
    Conversion.of(checkpoint, checkpoint.name).write_text(file, chosen, told)
