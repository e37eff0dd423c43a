"""Options of the backend, as users write them: ``llama-cpp@kv=f16:flash=on``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from parity.errors import UsageError

MEANINGS: dict[str, str] = {
    "file": "a GGUF file of the checkpoint, to run in place of one that is made of it",
    "kv": "number format of cached keys and values: f32 by default, or f16, bf16, q8_0",
    "flash": "fused attention: off by default, or on",
    "threads": "threads of an operation; 1 by default",
    "chunk": "tokens that are computed together, llama.cpp's ubatch; 512 by default",
    "context": "positions that there is room for; by default as many as the model has",
}
KV_TYPES = {"f32": 0, "f16": 1, "q8_0": 8, "bf16": 30}
"""Numbers of ggml's types."""
KINDS = {"float32": "f32", **{f"float32-ggml-{kind}": kind for kind in ("bf16", "f16", "q8_0", "q4_0")}}
"""The type of a file's matrices, by the name of the arithmetic that this makes."""
FLASH = {"off": 0, "on": 1}


@dataclass(frozen=True)
class Options:
    """How a file is run; see `MEANINGS`.

    Attributes:
        file: None for one that is made of the checkpoint.
        context: 0 for as many positions as the model has.
    """

    file: Path | None = None
    kv: str = "f32"
    flash: str = "off"
    threads: int = 1
    chunk: int = 512
    context: int = 0

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> Options:
        """Read options that were given by name.

        Raises:
            UsageError: for an unknown name or a value that cannot be.
        """
        if unknown := sorted(set(texts) - set(MEANINGS)):
            raise UsageError(f"backend llama-cpp has no option {unknown[0]!r}; it has {', '.join(MEANINGS)}")
        file = Path(texts["file"]).expanduser() if "file" in texts else None
        if file is not None and not file.is_file():
            raise UsageError(f"backend llama-cpp: file={file} is no file; name a GGUF file")
        kv, flash = _one_of("kv", texts.get("kv", cls.kv), KV_TYPES), _one_of("flash", texts.get("flash", "off"), FLASH)
        if kv == "q8_0" and flash == "off":
            raise UsageError("backend llama-cpp: kv=q8_0 needs flash=on: its values cannot lie transposed")
        return cls(
            file,
            kv,
            flash,
            _count("threads", texts, cls.threads, 1024),
            _count("chunk", texts, cls.chunk, 1 << 16),
            _count("context", texts, cls.context, 1 << 24),
        )


def _one_of(name: str, value: str, known: Mapping[str, object]) -> str:
    if value not in known:
        raise UsageError(f"backend llama-cpp: {name}={value} is none of {', '.join(known)}")
    return value


def _count(name: str, texts: Mapping[str, str], default: int, most: int) -> int:
    if (text := texts.get(name)) is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 0 < int(text) <= most):
        raise UsageError(f"backend llama-cpp: {name}={text} is not a number from 1 to {most:,}")
    return int(text)
