"""Checkpoints through a package's own loader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from implementations.mlx_packages.at import At
from parity.checkpoint import adapter_files
from parity.errors import BackendUnavailable
from parity.site import Edit, Heard
from parity.weave import weave


def _as_it_is(heard: Heard) -> Any:
    return heard.value


def require_sites(package: str, cure: str, steps: Iterable[At], edits: Sequence[Edit]) -> None:
    """Refuse an installed source that lacks a site.

    Args:
        package: its name and version.
        cure: the command that installs the supported version.
        steps: what is heard.
        edits: changes of the source that are in force.

    Raises:
        BackendUnavailable: naming every site that is missing.
    """
    try:
        with weave({step.site: None for step in steps}, _as_it_is, edits):
            pass
    except BackendUnavailable as error:
        raise BackendUnavailable(f"{package} is not supported: {error}; {cure}") from error


def load(
    package: str, checkpoint: Path, *, loader: Callable[[], Any], kind: Any, dtype: str, edits: Sequence[Edit]
) -> Any:
    """What the package's own loader makes of a checkpoint, cast by the model's `set_dtype`.

    Args:
        package: its name and version.
        checkpoint: for the message.
        loader: makes the model.
        kind: the class of a Gemma 3n.
        dtype: name of the working dtype.
        edits: changes of the source that are in force meanwhile.

    Raises:
        BackendUnavailable: in the loader's own words, when it does not take the checkpoint.
    """
    if adapter_files(checkpoint):
        raise BackendUnavailable(f"{package} would ignore the adapter: merge it into the checkpoint with PEFT")
    try:
        with weave((), _as_it_is, edits):
            model = loader()
    except Exception as error:  # whatever its loader raises is its verdict on the checkpoint
        reason = " ".join(str(error).split())[:300]
        raise BackendUnavailable(f"{package} cannot load {checkpoint}: {type(error).__name__}: {reason}") from error
    if not isinstance(model, kind):
        raise BackendUnavailable(f"{package} takes {checkpoint} for {type(model).__module__}, not for a Gemma 3n")
    model.set_dtype(getattr(mx, dtype))
    mx.eval(model.parameters())
    return model
