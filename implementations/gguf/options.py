"""Options of the backend, as users write them: ``llama-cpp@kv=f16:flash=on``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from implementations.gemma3n.option_texts import OptionTexts
from parity.errors import UsageError

MEANINGS: dict[str, str] = {
    "file": "a GGUF file of the checkpoint, to run in place of one that is made of it",
    "mmproj": "a GGUF file of its vision tower, for libmtmd, in place of one that is made of it",
    "kv": "number format of cached keys and values: f32 by default, or f16, bf16, q8_0",
    "flash": "fused attention: off by default, or on",
    "threads": "threads of an operation; 1 by default",
    "chunk": "tokens that are computed together, llama.cpp's ubatch; 512 by default",
    "rows": "whose towers make rows of sounds, and of pictures that libmtmd is not for: mlx by default, or ane",
    "prompt": "who cuts a prompt with its pictures into ids: processor, as the reference does, by default, or libmtmd",
    "context": "positions that there is room for; by default as many as the model has",
}
KV_TYPES = {"f32": 0, "f16": 1, "q8_0": 8, "bf16": 30}
"""Numbers of ggml's types."""
KINDS = {"float32": "f32", **{f"float32-ggml-{kind}": kind for kind in ("bf16", "f16", "q8_0", "q4_0", "q4_k_m")}}
"""The type of a file's matrices, by the name of the arithmetic that this makes."""
WITNESSES = ("mlx", "ane")
"""Backends that hand out soft tokens."""
FLASH = {"off": 0, "on": 1}
PROCESSOR, LIBMTMD = "processor", "libmtmd"
"""Whose ids a prompt has: those of the checkpoint's own processor, or those that llama.cpp's programs read."""


@dataclass(frozen=True)
class Options:
    """How a file is run; see `MEANINGS`.

    Attributes:
        file: None for one that is made of the checkpoint.
        mmproj: likewise.
        context: 0 for as many positions as the model has.
    """

    file: Path | None = None
    kv: str = "f32"
    flash: str = "off"
    threads: int = 1
    chunk: int = 512
    context: int = 0
    rows: str = "mlx"
    prompt: str = PROCESSOR
    mmproj: Path | None = None

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> Options:
        """Read options that were given by name.

        Raises:
            UsageError: for an unknown name or a value that cannot be.
        """
        given = OptionTexts("llama-cpp", MEANINGS, texts)
        kv, flash = given.one_of("kv", cls.kv, KV_TYPES), given.one_of("flash", cls.flash, FLASH)
        if kv == "q8_0" and flash == "off":
            raise UsageError("backend llama-cpp: kv=q8_0 needs flash=on: its values cannot lie transposed")
        return cls(
            _file(texts, "file"),
            kv,
            flash,
            given.count("threads", cls.threads, 1024),
            given.count("chunk", cls.chunk, 1 << 16),
            given.count("context", cls.context, 1 << 24),
            given.one_of("rows", cls.rows, WITNESSES),
            given.one_of("prompt", cls.prompt, (PROCESSOR, LIBMTMD)),
            _file(texts, "mmproj"),
        )


def _file(texts: Mapping[str, str], name: str) -> Path | None:
    """The file that an option names."""
    file = Path(texts[name]).expanduser() if name in texts else None
    if file is not None and not file.is_file():
        raise UsageError(f"backend llama-cpp: {name}={file} is no file; name a GGUF file")
    return file
