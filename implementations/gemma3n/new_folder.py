"""A folder that a command writes: whole, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parity.checkpoint import ADAPTER_CONFIG, INDEX
from parity.errors import CannotWrite, UsageError

BESIDE = ("*.json", "*.jinja", "*.model", "*.txt")
"""A checkpoint's files beside its weights: how it is read, and how it answers."""
OF_WEIGHTS = (INDEX, ADAPTER_CONFIG)


def require_new(folder: Path) -> None:
    """Refuse what cannot become a folder, before the work.

    Raises:
        UsageError: where something is there, or there is no folder to write into.
    """
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} is there already; name a folder that is not")
    if not folder.absolute().parent.is_dir():
        raise UsageError(f"{folder} cannot be written: there is no folder {folder.parent}")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the one that is named; it gets that name when the context ends without an error.

    Raises:
        UsageError: where something is there, or there is no folder to write into.
        CannotWrite: where there is no room or no leave. The folder is told by the name that it was asked for.
    """
    require_new(folder)
    with _told_of(folder):
        hidden = tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.absolute().parent)
    with hidden as name:
        made = Path(name) / "made"
        with _told_of(folder):
            made.mkdir()
        try:
            yield made
        except CannotWrite as error:
            raise CannotWrite(str(error).replace(str(made), str(folder))) from error
        with _told_of(folder):
            made.rename(folder)


@contextmanager
def _told_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be written: {error.strerror or error}") from error


def copy_beside(checkpoint: Path, folder: Path) -> None:
    """Copy a checkpoint's files beside its weights, but for those whose name a file of the folder has already."""
    for file in sorted({file for pattern in BESIDE for file in checkpoint.glob(pattern)}):
        if file.name not in OF_WEIGHTS and not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)
