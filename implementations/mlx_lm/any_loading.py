"""What any model of mlx-lm needs of MLX: its loader, and how its values are listened to."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm.models
import mlx_lm.utils
from mlx.nn.layers.base import Module

from implementations.mlx_packages.loading import load as loaded
from parity.site import Edit


def architectures() -> list[str]:
    """Types of model that the package has a module for, or takes for those of another."""
    modules = {module.name for module in pkgutil.iter_modules(mlx_lm.models.__path__)}
    taken = {name for name, module in mlx_lm.utils.MODEL_REMAPPING.items() if module in modules}
    return sorted(modules | taken)


def load(package: str, checkpoint: Path, dtype: str, *, kind: type = Module, edits: Sequence[Edit] = ()) -> Any:
    """Load and cast a checkpoint.

    Args:
        package: what messages call it.
        checkpoint: its folder.
        dtype: of its numbers.
        kind: the class of the model.
        edits: lines of the package that are replaced while it is loaded.

    Raises:
        BackendUnavailable: when the loader does not take it.
    """
    return loaded(
        package,
        checkpoint,
        loader=lambda: mlx_lm.utils.load_model(checkpoint, lazy=True)[0],
        kind=kind,
        dtype=dtype,
        edits=edits,
    )


def is_activation(value: object) -> bool:
    """Whether a value is an array of real numbers."""
    return type(value) is mx.array and mx.issubdtype(value.dtype, mx.floating)
