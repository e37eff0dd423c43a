"""`parity onnx`: a checkpoint as a package of ONNX graphs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from implementations.gemma3n.new_folder import new_folder, require_new
from implementations.onnx import Backend
from parity.checkpoint import ADAPTER_CONFIG, DEFAULT, INDEX
from parity.errors import BackendUnavailable, ExitCode
from parity.report.progress import TerminalProgress

BESIDE = ("*.json", "*.jinja", "*.model", "*.txt")
"""A checkpoint's files beside its weights: how it is read, and how it answers."""
OF_WEIGHTS = (INDEX, ADAPTER_CONFIG)

app = typer.Typer(no_args_is_help=True)


@app.callback()
def onnx() -> None:
    """Gemma 3n as ONNX graphs, for ONNX Runtime and whatever else reads them."""


@app.command()
def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Checkpoint: a directory, a hub id, or tiny.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The package's folder, which is not there yet.")],
) -> int:
    """Write a checkpoint as a package of ONNX graphs, in float32, as the published one is."""
    from parity.checkpoint import find_checkpoint

    try:
        from implementations.onnx.loading import write_graphs
    except ImportError as error:
        raise BackendUnavailable(f"{Backend.install} ({error})") from error
    require_new(folder)
    checkpoint = find_checkpoint(None if model == DEFAULT and not Path(model).exists() else model)
    with TerminalProgress() as progress, new_folder(folder) as package:
        write_graphs(checkpoint.path, package, lambda what: progress.start("onnx", 0, what))
        _copy_beside(checkpoint.path, package)
    size = sum(file.stat().st_size for file in folder.rglob("*"))
    print(f"{folder}: {size / 1e6:,.1f} MB")
    return ExitCode.PARITY


def _copy_beside(checkpoint: Path, package: Path) -> None:
    for file in sorted({file for pattern in BESIDE for file in checkpoint.glob(pattern)}):
        if file.name not in OF_WEIGHTS:
            shutil.copyfile(file, package / file.name)
