"""Checkpoints through mlx-lm's own loader."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import mlx_lm.utils
from mlx_lm.models.gemma3n import Model

from implementations.mlx_lm import CURE
from implementations.mlx_lm.patches import Patch
from implementations.mlx_lm.sites import STEPS
from parity.errors import BackendUnavailable
from parity.weave import weave


def load_model(checkpoint: Path, dtype: str, patches: Sequence[Patch]) -> Model:
    """Load and cast a checkpoint.

    Raises:
        BackendUnavailable: when the installed source lacks a site, or the loader does not take the checkpoint.
    """
    name = f"mlx-lm {version('mlx-lm')}"
    edits = [edit for patch in patches for edit in patch.edits]
    try:
        with weave({step.site: None for step in STEPS}, lambda site, owner, value, used: value, edits):
            pass
    except BackendUnavailable as error:
        raise BackendUnavailable(f"{name} is not supported: {error}; {CURE}") from error
    try:
        with weave((), lambda site, owner, value, used: value, edits):
            model, _ = mlx_lm.utils.load_model(checkpoint, lazy=True)
    except Exception as error:  # whatever its loader raises is its verdict on the checkpoint
        reason = " ".join(str(error).split())[:300]
        raise BackendUnavailable(f"{name} cannot load {checkpoint}: {type(error).__name__}: {reason}") from error
    if not isinstance(model, Model):
        raise BackendUnavailable(f"{name} takes {checkpoint} for {type(model).__module__}, not for a Gemma 3n")
    model.set_dtype(getattr(mx, dtype))
    mx.eval(model.parameters())
    return model
