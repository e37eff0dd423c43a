"""Imports mlx-vlm, and takes back what that does to transformers.

Importing its Gemma 3n puts its own processor in the place of transformers', for the whole process: the reference would
process pictures with the package that it judges. The exchange is in force only while the package loads its processor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import AutoProcessor

_OURS = AutoProcessor.__dict__["from_pretrained"]

from mlx_vlm import utils  # noqa: E402  # behind the line that remembers
from mlx_vlm.models.gemma3n.gemma3n import Model  # noqa: E402

__all__ = ["Model", "their_processor", "utils"]

_THEIRS = AutoProcessor.__dict__["from_pretrained"]


def _exchange(method: Any) -> None:
    AutoProcessor.from_pretrained = method  # type: ignore[method-assign]  # what the package itself does


_exchange(_OURS)


@contextmanager
def their_processor() -> Iterator[None]:
    """`AutoProcessor` as the package has it."""
    _exchange(_THEIRS)
    try:
        yield
    finally:
        _exchange(_OURS)
