"""The folder of a set of goldens: ``contract.json`` for all, and a folder for each."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from parity.contract import Contract
from parity.errors import UsageError
from parity.golden.format import Golden, write_golden
from parity.json_file import read_json

CONTRACT = "contract.json"


class Store:
    """Reads and replaces a set. Replacing is all or nothing: the new set is complete before it takes the old name.

    Beside the set there may be ``.NAME.old``, which is whole, and ``.NAME.new``, which is rubbish unless a process is
    writing it. A process that dies leaves them, and whoever comes next puts right what it finds: without a set the old
    one is put back, and beside a set both are removed. What is to be removed is called ``.NAME.new`` first, lest half
    of an old set be put back.

    Args:
        folder: of the set. A link is followed: the set is replaced where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.realpath(folder)) if folder.is_symlink() else folder
        self._old = self.folder.with_name(f".{self.folder.name}.old")
        self._new = self.folder.with_name(f".{self.folder.name}.new")
        self._held = False

    def names(self) -> tuple[str, ...]:
        """Names of the goldens that are kept.

        Raises:
            UsageError: where a set that was left aside cannot be put back.
        """
        if self._old.is_dir() and not self.folder.is_dir():
            with self.locked():  # which puts it back, unless a process is between the two renames
                pass
        if not self.folder.is_dir():
            return ()
        return tuple(sorted(path.parent.name for path in self.folder.glob("*/manifest.json")))

    def contract(self) -> Contract:
        """The contract that the set was made with.

        Raises:
            UsageError: when it is missing or malformed.
        """
        path = self.folder / CONTRACT
        try:
            return Contract.from_json(read_json(path))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read ({error}); restore it, or make the goldens again") from error

    def size(self) -> int:
        """Bytes of the whole set."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process at a time changes the set. The lock, on the folder around it, ends with the process.

        Raises:
            UsageError: when the folder cannot be written, or is a file.
        """
        if self._held:
            yield
            return
        with self._explained():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder.parent, os.O_RDONLY)
        try:
            with self._explained():
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._recover()
            self._held = True
            yield
        finally:
            self._held = False
            os.close(descriptor)

    def replace(self, made: Mapping[str, Golden], contract: Contract, keep: frozenset[str]) -> None:
        """Put `made` in place of the goldens of the same names; of the others only those of `keep` stay.

        Raises:
            UsageError: when the folder cannot be written, or is a file.
        """
        with self.locked(), self._explained():
            self._clear()
            self._write(made, contract, keep)
            if self.folder.exists():
                self.folder.rename(self._old)
            self._new.rename(self.folder)
            self._clear()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = f" ({error.filename})" if error.filename not in (None, str(self.folder)) else ""
            reason = f"{error.strerror or error}{place}"
            raise UsageError(f"cannot write goldens to {self.folder}: {reason}") from error

    def _write(self, made: Mapping[str, Golden], contract: Contract, keep: frozenset[str]) -> None:
        self._new.mkdir(parents=True)
        try:
            for name in set(self.names()) & keep - made.keys():
                shutil.copytree(self.folder / name, self._new / name)
            for name, golden in made.items():
                write_golden(golden, self._new / name)
            write_contract(contract, self._new / CONTRACT)
        except BaseException:
            shutil.rmtree(self._new, ignore_errors=True)
            raise

    def _recover(self) -> None:
        """Put right what a process that died has left; to be called with the lock."""
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{self.folder} is no folder; remove it, or name another for the goldens")
        if self._old.is_dir() and not self.folder.exists():
            self._old.rename(self.folder)
        self._clear()

    def _clear(self) -> None:
        """Remove what is beside the set."""
        if self._new.exists():
            shutil.rmtree(self._new)
        if self._old.exists():
            self._old.rename(self._new)
            shutil.rmtree(self._new)


def write_contract(contract: Contract, path: Path) -> None:
    """Write the contract, a step a line, so that a reviewer sees which steps changed."""
    data = contract.to_json()
    steps = ",\n".join(f"  {json.dumps(step, ensure_ascii=False)}" for step in data.pop("steps"))
    head = json.dumps(data, ensure_ascii=False)[:-1]
    path.write_text(f'{head}, "steps": [\n{steps}\n]}}\n', encoding="utf-8")
