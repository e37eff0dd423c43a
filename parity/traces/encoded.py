"""A tensor's statistics as a record holds them: numbers, and the sketch in base64."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field

from parity.traces.sketch import BUCKETS
from parity.traces.statistics import Statistics

MEASURED = (
    "min", "max", "mean", "std", "rms", "abs_max", "zero_fraction", "nan_count", "inf_count", "digest",
)  # fmt: skip
"""Fields of a record that are the statistics' own; `count` follows from the shape."""

MOST = 1 << 63
"""Of what is counted: beyond it NumPy fails."""

SKETCHES = (0, BUCKETS, BUCKETS // 2 + 1)
"""Numbers of a sketch: none, a trace's own, and as a golden folds it."""


def fields_of(statistics: Statistics) -> dict[str, Any]:
    """The fields of a record that a tensor's statistics give."""
    values = {name: getattr(statistics, name) for name in MEASURED}
    return {**values, "sketch": encode_sketch(statistics.sketch)}


def decode_sketch(text: str) -> tuple[float, ...]:
    """Numbers of a sketch; empty where the writer gave none."""
    return tuple(np.frombuffer(base64.b64decode(text), dtype="<f8").tolist())


def encode_sketch(sketch: Sequence[float]) -> str:
    """Inverse of `decode_sketch`."""
    return base64.b64encode(struct.pack(f"<{len(sketch)}d", *sketch)).decode()


def _checked(text: str) -> str:
    try:
        size = len(base64.b64decode(text, validate=True))
    except ValueError:
        size = -1
    if size not in [8 * numbers for numbers in SKETCHES]:
        raise ValueError(f"not base64 of {BUCKETS} float64")
    return text


def _countable(shape: list[int]) -> list[int]:
    if math.prod(shape) >= MOST:
        raise ValueError("more elements than 63 bits count")
    return shape


Count = Annotated[int, Field(ge=0, lt=MOST)]
Shape = Annotated[list[Count], AfterValidator(_countable)]
Sketch = Annotated[str, AfterValidator(_checked)]
