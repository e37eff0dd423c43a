"""Folders that a run needs for itself, gone when it ends; those of a run that was killed go with the next one."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "parity-run-"
_LOCK, _NEW = ".lock", ".lock.new"
_HOUR = 3600


@contextmanager
def scratch() -> Iterator[Path]:
    """A new folder for as long as the context lasts, among the system's temporary ones.

    Its lock is held by this process alone, and the system gives it back at any death, even at SIGKILL.
    """
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        lock = os.open(folder / _NEW, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / _NEW).rename(folder / _LOCK)  # so a lock that can be seen is held
            sweep(folder.parent)
            yield folder
        finally:
            os.close(lock)


@functools.cache  # once a process: a diagnosis asks for hundreds of folders
def sweep(among: Path) -> None:
    """Remove this user's folders whose process is gone; others', and what is no folder of a run, stay."""
    for folder in among.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another process may remove it at the same moment
            if folder.lstat().st_uid != os.getuid():
                continue
            if _is_orphan(folder):
                shutil.rmtree(folder)
            elif time.time() - folder.lstat().st_mtime > _HOUR:
                (folder / _NEW).unlink(missing_ok=True)
                folder.rmdir()  # of a run that died before it had its lock: it is empty, and where it is not it stays


def _is_orphan(folder: Path) -> bool:
    """Whether the folder has a lock that nobody holds."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
