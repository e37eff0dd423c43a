"""`parity draw`: a small random checkpoint of any architecture of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parity.errors import BackendUnavailable, ExitCode
from parity.report.console import plain


def draw(
    model: Annotated[
        str, typer.Argument(metavar="MODEL_TYPE|DIR", help="As config.json calls it, e.g. qwen3; or a checkpoint.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    seed: Annotated[int, typer.Option("--seed", help="Of the weights.")] = 0,
) -> int:
    """Write a small random checkpoint, in which no two axes have the same size."""
    try:
        from reference.any_model.drawing import draw as write
    except ImportError as error:
        raise BackendUnavailable(f"parity draw needs {error.name}; install the extra [hf]") from error
    write(model, folder, seed)
    print(plain(folder))
    return ExitCode.PARITY
