"""Converted parts that stay: kept in the user's cache as they are before their weights are in fewer bits.

Tracing and converting is what takes the time. So a conversion that is interrupted goes on behind its last part, and
conversions that differ in the formats of weights, or in other parts, have these in common.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from implementations.coreml.convert.planned import Make
from implementations.coreml.convert.tracing import convert
from implementations.coreml.package.folder import AUDIO, HEAD, VISION
from implementations.coreml.package.settings import Settings
from parity.checkpoint import find_checkpoint
from parity.running.cache import Key, write_folder
from parity.running.identity import source_digest

CONVERTERS = ("torch", "coremltools", "numpy", "scikit-learn")
SOURCES = (
    "implementations.ane",
    "implementations.coreml.convert",
    "implementations.coreml.package",
    "implementations.gemma3n",
)
"""What packages are made by."""
SHAPED_BY = {HEAD: (), VISION: ("picture",), AUDIO: ("sound",)}
"""Settings that a part depends on, besides its number format, caches (which say the system) and α; the decoder's are
`OF_DECODER`."""
OF_DECODER = ("context", "batch", "chunks")
_MODEL, _STEPS = "part.mlpackage", "steps.json"
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class KeptPart:
    """One function of a part.

    Attributes:
        file: a package of that function alone.
        steps: with the values that they are, in the program's order.
    """

    file: Path
    steps: Pairs


def identity(checkpoint: Path) -> Key:
    """What conversions of a checkpoint depend on, besides their settings."""
    found = find_checkpoint(str(checkpoint))
    return {
        "checkpoint": [found.name, found.weights],
        "source": [source_digest(name) for name in SOURCES],
        "libraries": [f"{name} {version(name)}" for name in CONVERTERS],
    }


def kept_part(part: Make, name: str, tokens: int, settings: Settings, *, of: Key, folder: Path) -> KeptPart:
    """A part for calls of so many tokens, of the cache or converted now.

    Args:
        part: is made and converted where none is kept.
        name: of its package.
        tokens: of a call; a tower takes any.
        settings: the formats of weights are none of its business.
        of: `identity` of the checkpoint.
        folder: is not there yet; the part is in it.

    Raises:
        UsageError: as `convert`.
    """

    def make(new: Path) -> None:
        one = convert(part(), tokens, settings)
        one.model.save(str(new / _MODEL))
        (new / _STEPS).write_text(json.dumps(one.steps), encoding="utf-8")

    write_folder(folder, {**of, "op": "Core ML part", **_shape(name, tokens, settings)}, make)
    steps = json.loads((folder / _STEPS).read_text(encoding="utf-8"))
    return KeptPart(folder / _MODEL, [(step, value) for step, value in steps])


def _shape(name: str, tokens: int, settings: Settings) -> Mapping[str, Any]:
    wanted = ("precision", "alpha", "caches", *SHAPED_BY.get(name, OF_DECODER))
    return {"part": name, "tokens": tokens, **{each: getattr(settings, each) for each in wanted}}
