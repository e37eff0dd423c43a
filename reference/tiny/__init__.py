"""The embedded checkpoint: a complete multimodal Gemma 3n of 18 million parameters.

`path()` is where it lies. The import is light: no torch, no transformers, no NumPy.
Rebuild it with `python -m tools.tiny.build`; see README.md beside this file.
"""

from pathlib import Path

__all__ = ["path"]


def path() -> Path:
    """Return the directory of the committed checkpoint (config.json, model.safetensors, tokenizer.json, ...)."""
    return Path(__file__).resolve().parent / "checkpoint"
