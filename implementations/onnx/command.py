"""`parity onnx`: a checkpoint as a package of ONNX graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from implementations.gemma3n.new_folder import copy_beside, new_folder, require_new
from implementations.onnx import Backend
from implementations.onnx.options import Options
from implementations.onnx.package.types import FLOAT32, TYPES
from parity.cli.options import names
from parity.errors import ExitCode, UsageError, installed
from parity.report.progress import TerminalProgress

app = typer.Typer(no_args_is_help=True)


@app.callback()
def onnx() -> None:
    """Gemma 3n as ONNX graphs, for ONNX Runtime and whatever else reads them."""


@app.command()
def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Checkpoint: a directory, a hub id, or tiny.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The package's folder, which is not there yet.")],
    types: Annotated[
        str, typer.Option("--types", metavar="NAME[,NAME]|all", help=f"Number formats: {', '.join(TYPES)}.")
    ] = FLOAT32,
) -> int:
    """Write a checkpoint as a package of ONNX graphs, in float32 and whatever else the published one is in."""
    from parity.checkpoint import find_checkpoint

    kinds = _kinds(types)
    with installed(Backend.install):
        from implementations.onnx.loading import write_package
    require_new(folder)
    checkpoint = find_checkpoint(model)
    with TerminalProgress() as progress, new_folder(folder) as package:
        write_package(checkpoint.path, package, kinds, lambda what: progress.start("onnx", 0, what))
        copy_beside(checkpoint.path, package)
    size = sum(file.stat().st_size for file in folder.rglob("*"))
    print(f"{folder}: {size / 1e6:,.1f} MB")
    return ExitCode.PARITY


@app.command()
def learn(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Checkpoint that the package is of.")],
    package: Annotated[Path, typer.Argument(metavar="DIR", help="A package that has no steps.json and is right.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The table, which is not there yet.")],
    first_position: Annotated[str, typer.Option(help="Of the package's positions: 0 or 1.")] = "0",
) -> int:
    """Learn which tensors inside a package of others are steps, by their content, as a table to read and correct."""
    from parity.checkpoint import find_checkpoint

    options = Options.parse({"package": str(package), "first_position": first_position})
    with installed(Backend.install):
        from implementations.onnx.learning import learn
        from implementations.onnx.package.folder import write_table
    if file.exists() or not file.absolute().parent.is_dir():
        raise UsageError(f"{file} is there already, and may have been corrected, or has no folder; name a new file")
    with TerminalProgress() as progress:
        found = learn(find_checkpoint(model), options, progress)
    write_table(file, found)
    print(f"{file}: {sum(map(len, found.values())):,} steps inside")
    return ExitCode.PARITY


def _kinds(text: str) -> tuple[str, ...]:
    """The number formats that are named.

    Raises:
        UsageError: for an unknown one.
    """
    found = names(text, "--types")
    if "all" in found:
        return tuple(TYPES)
    if unknown := [name for name in found if name not in TYPES]:
        raise UsageError(f"--types has no {unknown[0]!r}; choose of {', '.join(TYPES)}, or all")
    return found
