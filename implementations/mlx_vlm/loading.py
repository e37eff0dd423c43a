"""Checkpoints through mlx-vlm's own loader."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from implementations.mlx_packages.loading import load, require_sites
from implementations.mlx_packages.patch import Patch, edits_of
from implementations.mlx_vlm import Backend
from implementations.mlx_vlm.imports import Model, utils
from implementations.mlx_vlm.vision_patches import VISION_GEOMETRY
from parity.errors import BackendUnavailable


def load_model(checkpoint: Path, dtype: str, patches: Sequence[Patch]) -> Any:
    """Load and cast a checkpoint.

    Raises:
        BackendUnavailable: when the installed source lacks a site, or the loader does not take the checkpoint.
    """
    package, edits = f"mlx-vlm {version('mlx-vlm')}", edits_of(patches)
    require_sites(package, Backend.cure(), Backend.steps(), edits)
    try:
        return load(
            package,
            checkpoint,
            loader=lambda: utils.load_model(checkpoint, lazy=True),
            kind=Model,
            dtype=dtype,
            edits=edits,
        )
    except BackendUnavailable as error:
        if "vision_tower" not in str(error) or VISION_GEOMETRY in patches:
            raise
        hint = f"it builds the published vision tower, whatever config.json says; mlx-vlm@patch={VISION_GEOMETRY.name}"
        raise BackendUnavailable(f"{error}; {hint} builds the checkpoint's") from error
