"""Folders that a run needs for itself, gone when it ends; those of a run that was killed go with the next one."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "parity-run-"
_LOCK = ".lock"


@contextmanager
def scratch() -> Iterator[Path]:
    """A new folder for as long as the context lasts, among the system's temporary ones.

    Its lock is held by this process alone, and the system gives it back at any death, even at SIGKILL.
    """
    folder, lock = _locked()
    try:
        sweep(folder.parent)
        yield folder
    finally:
        try:
            with suppress(OSError):  # what cannot be removed now is left to the next run
                _remove(folder)
        finally:
            os.close(lock)


def _locked() -> tuple[Path, int]:
    """A new folder, and its lock, which is held.

    Until it is, another run may take the folder for a dead one's and remove it: then there is one more.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(FileNotFoundError):
            lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (folder / _LOCK).exists():
                return folder, lock
            os.close(lock)


def _remove(folder: Path) -> None:
    """Remove a folder, its lock last: whoever dies meanwhile leaves one that is known by it, or is empty."""
    for inside in folder.iterdir():
        if inside.is_dir() and not inside.is_symlink():
            shutil.rmtree(inside)
        elif inside.name != _LOCK:
            inside.unlink()
    shutil.rmtree(folder)


@functools.cache  # once a process: a diagnosis asks for hundreds of folders
def sweep(among: Path) -> None:
    """Remove this user's folders whose process is gone; others', and what is no folder of a run, stay."""
    for folder in among.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another process may remove it at the same moment
            if folder.lstat().st_uid == os.getuid():
                _remove_orphan(folder)


def _remove_orphan(folder: Path) -> None:
    """Remove a folder whose lock nobody holds, while it is held here; or an empty one, whose run died before its lock.

    Raises:
        OSError: where it is no such folder.
    """
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        folder.rmdir()
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(folder)
    finally:
        os.close(lock)
