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

CONTRACT = "contract.json"


class Store:
    """Reads and replaces a set. Replacing is all or nothing: the new set is complete before it takes the old name.

    A process that dies between the two renames leaves the old set as ``.NAME.old``; whoever comes next puts it back.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._old = folder.with_name(f".{folder.name}.old")
        self._new = folder.with_name(f".{folder.name}.new")

    def names(self) -> tuple[str, ...]:
        """Names of the goldens that are kept."""
        self._recover()
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
            return Contract.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read ({error}); restore it, or make the goldens again") from error

    def size(self) -> int:
        """Bytes of the whole set."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process at a time changes the set. The lock, on the folder around it, ends with the process."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder.parent, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def replace(self, made: Mapping[str, Golden], contract: Contract, keep: frozenset[str]) -> None:
        """Put `made` in place of the goldens of the same names; of the others only those of `keep` stay.

        Raises:
            UsageError: when the folder cannot be written.
        """
        try:
            self._recover()
            shutil.rmtree(self._new, ignore_errors=True)
            self._write(made, contract, keep)
            if self.folder.exists():
                self.folder.rename(self._old)
            self._new.rename(self.folder)
        except OSError as error:
            raise UsageError(f"cannot write goldens to {self.folder}: {error.strerror or error}") from error
        shutil.rmtree(self._old, ignore_errors=True)

    def _write(self, made: Mapping[str, Golden], contract: Contract, keep: frozenset[str]) -> None:
        self._new.mkdir(parents=True)
        for name in set(self.names()) & keep - made.keys():
            shutil.copytree(self.folder / name, self._new / name)
        for name, golden in made.items():
            write_golden(golden, self._new / name)
        write_contract(contract, self._new / CONTRACT)

    def _recover(self) -> None:
        """Put back what a process that died left aside."""
        if self._old.is_dir() and not self.folder.exists():
            self._old.rename(self.folder)


def write_contract(contract: Contract, path: Path) -> None:
    """Write the contract, a step a line, so that a reviewer sees which steps changed."""
    data = contract.to_json()
    steps = ",\n".join(f"  {json.dumps(step, ensure_ascii=False)}" for step in data.pop("steps"))
    head = json.dumps(data, ensure_ascii=False)[:-1]
    path.write_text(f'{head}, "steps": [\n{steps}\n]}}\n', encoding="utf-8")
