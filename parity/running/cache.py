"""What was computed stays: runs of the reference, kept in a folder of the user by everything that they depend on."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from parity.errors import UsageError

FOLDER, SIZE = "PARITY_CACHE", "PARITY_CACHE_SIZE"
"""Variables of the environment: where, or ``off``; and how many GB at most."""
GIGABYTES = 8.0
"""What the size is where none is set."""
_FORMAT = 1
"""Of the entries: another number begins anew."""
_KEY, _CONTENT, _PARTIAL, _MAKING = "key.json", "content", ".partial-", ".making-"
_HOUR = 3600

Key = Mapping[str, Any]
"""All that an entry depends on, as JSON has it."""


@dataclass(frozen=True)
class Kept:
    """One thing that was kept.

    Attributes:
        path: its folder.
        size: bytes.
        used: when it was last asked for, seconds since the epoch.
    """

    path: Path
    size: int
    used: float

    @property
    def key(self) -> Key:
        """What it depends on."""
        key: Key = json.loads((self.path / _KEY).read_text(encoding="utf-8"))
        return key


class Cache:
    """Entries by the digest of their key, each written under a temporary name and renamed when it is whole.

    So two processes may share it, and may die at any moment: what they leave is no entry, and is swept in its turn.

    Args:
        folder: made when it is first written to.
        limit: bytes; beyond, the entries go that hold most room for longest.
    """

    def __init__(self, folder: Path, limit: float = GIGABYTES * 1e9) -> None:
        self.folder, self.limit = folder, limit

    def find(self, key: Key) -> Path | None:
        """The content of an entry, or None."""
        content = self._place(key) / _CONTENT
        if not content.exists():
            return None
        with contextlib.suppress(OSError):  # another process may remove it now, or the folder may be read-only
            os.utime(content.parent)
        return content

    def keep(self, key: Key, fill: Callable[[Path], None]) -> None:
        """Have `fill` write a new entry's content, a file or a folder; where nothing can be written, none is kept."""
        place = self._place(key)
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=self.folder, ignore_cleanup_errors=True) as made:
                entry = Path(made) / "entry"
                entry.mkdir()
                fill(entry / _CONTENT)
                (entry / _KEY).write_text(json.dumps(key, indent=1), encoding="utf-8")
                entry.rename(place)
            self.shrink()

    def copy(self, key: Key, folder: Path) -> bool:
        """Copy an entry's content, a folder, to a new one; False where there is none, or it is removed meanwhile."""
        if (kept := self.find(key)) is None:
            return False
        try:
            shutil.copytree(kept, folder)
        except OSError:  # another process removed it
            shutil.rmtree(folder, ignore_errors=True)
            return False
        return True

    @contextlib.contextmanager
    def making(self, key: Key) -> Iterator[None]:
        """Inside it no other process makes this entry: what takes minutes is made once; who waited finds it there."""
        file = self.folder / f"{_MAKING}{self._place(key).name}"
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError):  # where nothing can be written, each makes its own
                self.folder.mkdir(parents=True, exist_ok=True)
                held.callback(file.unlink, missing_ok=True)
                fcntl.flock(held.enter_context(file.open("w")), fcntl.LOCK_EX)
            yield

    def entries(self) -> Iterator[Kept]:
        """All, those first that were not asked for longest."""
        found = []
        for key in self.folder.glob(f"[0-9a-f]*/{_KEY}"):
            with contextlib.suppress(OSError):
                files = [path.lstat() for path in key.parent.rglob("*")]
                found.append(Kept(key.parent, sum(file.st_size for file in files), key.parent.stat().st_mtime))
        yield from sorted(found, key=lambda entry: entry.used)

    def shrink(self) -> None:
        """Remove what holds most bytes for longest, until the rest is within the limit.

        Bytes times seconds without being asked for. By seconds alone a graph of 1 MB, whose export takes minutes, went
        for runs of 100 MB, which take seconds.
        """
        for dead in self.folder.glob(f"{_PARTIAL}*"):  # of a process that was killed while it wrote
            with contextlib.suppress(OSError):
                if time.time() - dead.stat().st_mtime > _HOUR:
                    shutil.rmtree(dead)
        now, entries = time.time(), [*self.entries()]
        size = sum(entry.size for entry in entries)
        for entry in sorted(entries, key=lambda entry: entry.size * (entry.used - now)):
            if size <= self.limit:
                return
            _remove(entry.path)
            size -= entry.size

    def drop(self, key: Key) -> None:
        """Remove one entry, which is damaged."""
        _remove(self._place(key))

    def clear(self) -> None:
        """Remove everything that is this cache's, and nothing else."""
        for entry in self.entries():
            _remove(entry.path)

    def _place(self, key: Key) -> Path:
        text = json.dumps([_FORMAT, key], sort_keys=True)
        return self.folder / xxhash.xxh3_128_hexdigest(text.encode())


def _remove(entry: Path) -> None:
    """Rename it first, so that no half of it is ever found."""
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=entry.parent) as gone:
        entry.rename(Path(gone) / "entry")


def write_folder(folder: Path, key: Key, make: Callable[[Path], None]) -> None:
    """Write a new folder: as the user's cache has it, or made now and kept there, by one process at a time.

    It is a copy, for what lies in the cache may go at any moment.

    Args:
        folder: is not there yet.
        key: all that its content depends on.
        make: fills it, once it is there.
    """
    store = cache()
    with contextlib.nullcontext() if store is None else store.making(key):
        if store is not None and store.copy(key, folder):
            return
        folder.mkdir()
        make(folder)
        if store is not None:
            store.keep(key, lambda content: _copy(folder, content))


def _copy(folder: Path, content: Path) -> None:
    shutil.copytree(folder, content)


def cache() -> Cache | None:
    """The user's cache; None where it is switched off.

    Raises:
        UsageError: for a size that is none.
    """
    given = os.environ.get(FOLDER, "")
    if given == "off":
        return None
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    text = os.environ.get(SIZE) or str(GIGABYTES)
    try:
        limit = float(text) * 1e9
    except ValueError:
        raise UsageError(f"{SIZE}={text!r} is no number of gigabytes") from None
    return Cache(Path(given or f"{base}/parity/runs").expanduser(), limit)
