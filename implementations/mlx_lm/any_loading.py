"""What any model of mlx-lm needs of MLX: its loader, and how its values are listened to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm.utils
from mlx.nn.layers.base import Module

from implementations.mlx_packages.loading import load as loaded
from parity.learning.listening import Hear


def load(package: str, checkpoint: Path, dtype: str) -> Module:
    """Load and cast a checkpoint.

    Raises:
        BackendUnavailable: when the loader does not take it.
    """
    model: Module = loaded(
        package,
        checkpoint,
        loader=lambda: mlx_lm.utils.load_model(checkpoint, lazy=True)[0],
        kind=Module,
        dtype=dtype,
        edits=(),
    )
    return model


def is_activation(value: object) -> bool:
    """Whether a value is an array of real numbers."""
    return type(value) is mx.array and mx.issubdtype(value.dtype, mx.floating)


def kept(hear: Hear) -> Hear:
    """The same with a handle of its own: some arrays are changed in place, and MLX then changes what a handle means."""

    def heard(place: str, value: Any) -> Any:
        shown = mx.array(value)
        answer = hear(place, shown)
        return value if answer is shown else answer

    return heard
