"""Checkpoints through mlx-lm's own loader."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from mlx_lm.models.gemma3n import Model

from implementations.mlx_lm import Backend
from implementations.mlx_lm.any_loading import load
from implementations.mlx_packages.loading import require_sites
from implementations.mlx_packages.patch import Patch, edits_of


def load_model(checkpoint: Path, dtype: str, patches: Sequence[Patch]) -> Model:
    """Load and cast a checkpoint.

    Raises:
        BackendUnavailable: when the installed source lacks a site, or the loader does not take the checkpoint.
    """
    package, edits = f"mlx-lm {version('mlx-lm')}", edits_of(patches)
    require_sites(package, Backend.cure(), Backend.steps(), edits)
    model: Model = load(package, checkpoint, dtype, kind=Model, edits=edits)
    return model
