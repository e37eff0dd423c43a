"""Writing traces: under a temporary name, renamed when complete, removed when not."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from parity.contract import Contract
from parity.dtypes import name_of
from parity.errors import CannotWrite, UsageError
from parity.names import require_name
from parity.traces.encoded import fields_of
from parity.traces.spool import Spool
from parity.traces.statistics import Gathered, gather
from parity.traces.trace import Manifest


class TraceWriter:
    """Collects the records of one run. Use as a context: an exception leaves no file behind.

    One phase's records are held in memory at a time, and a buffer of its tensors; they are written when it ends.

    Attributes:
        path: the trace's name, once it is finished.
        folder: where its files are until then.
        count: records so far.

    Raises:
        UsageError: when `path` exists, or its folder cannot be written to.
    """

    def __init__(self, path: Path, *, keep_tensors: bool) -> None:
        require_new(path)
        self.path = path
        self.keep_tensors = keep_tensors
        self.count = 0
        self._records: list[tuple[dict[str, Any], Gathered]] = []
        self._phase = ""
        self.folder, self._steps = self._create()
        self._tensors = Spool(self.folder)

    def _create(self) -> tuple[Path, TextIO]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", suffix=".partial", dir=self.path.parent))
            return partial, (partial / "steps.jsonl").open("w", encoding="utf-8")
        except OSError as error:
            raise self._cannot(error) from error

    def begin(self, phase: str) -> None:
        """Records that follow belong to `phase`.

        Raises:
            UsageError: where that may not name a file; tensors are written into one of its name.
        """
        self._phase = require_name("a phase", phase)

    def add(self, step: str, occurrence: int, axes: tuple[str, ...], array: NDArray[Any]) -> None:
        """Take the record of one step; keeps a copy of `array` where tensors are kept.

        It becomes text when the phase ends: in one go that takes a third of the time, because between two steps the
        model's arithmetic drives the code that does it out of the caches.
        """
        whole = np.asarray(array, order="C")
        place = {"step": step, "phase": self._phase, "occurrence": occurrence}
        form = {"axes": axes, "shape": array.shape, "dtype": name_of(array)}
        self._records.append(({**place, **form}, gather(whole)))
        self.count += 1
        if self.keep_tensors:
            name = step if occurrence == 0 else f"{step}#{occurrence}"
            self._tensors.add(name, whole.copy() if np.may_share_memory(whole, array) else whole)

    def end(self) -> None:
        """Write the phase's records and tensors."""
        for record, gathered in self._records:
            self._steps.write(_line(record, gathered))
        self._records = []
        if self._tensors:
            folder = self.folder / "tensors"
            folder.mkdir(exist_ok=True)
            self._tensors.write(folder / f"{self._phase}.safetensors")

    def finish(self, manifest: Manifest, contract: Contract | None = None) -> None:
        """Write the manifest (and an oracle's contract) and give the trace its name."""
        self._steps.close()
        _dump(manifest.model_dump(), self.folder / "manifest.json")
        if contract is not None:
            _dump(contract.to_json(), self.folder / "contract.json")
        self.folder.rename(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):  # what is still buffered has no room either
            self._steps.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if isinstance(error, OSError | SafetensorError):  # the library's own, for a full disk too
            raise self._cannot(error) from error

    def _cannot(self, error: Exception) -> CannotWrite:
        reason = getattr(error, "strerror", None) or error
        return CannotWrite(f"cannot write a trace to {self.path}: {reason}; make room or name another folder")


def machine() -> dict[str, str]:
    """The machine, as far as it can matter to arithmetic."""
    system = os.uname()
    return {"system": system.sysname, "processor": system.machine, "python": sys.version.split()[0]}


def require_new(path: Path) -> None:
    """Refuse to write a trace over anything.

    Raises:
        UsageError: when something has that name.
    """
    if path.exists():
        raise UsageError(f"{path} exists already; remove it or name another folder")


def adopted(source: Path, path: Path, command: Sequence[str]) -> None:
    """Give a trace that was kept another name, with the command that asks for it now.

    Raises:
        OSError: where it cannot be read or written; nothing has the name then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".partial", dir=path.parent) as partial:
        trace = Path(partial) / "trace"
        linked(source, trace)
        manifest = json.loads((trace / "manifest.json").read_text(encoding="utf-8"))
        (trace / "manifest.json").unlink()  # the file itself is the source's too
        _dump({**manifest, "command": [*command]}, trace / "manifest.json")
        trace.rename(path)


def linked(source: Path, target: Path) -> None:
    """A folder with the same files: the same on the disk where that can be, so that they take no room twice.

    Raises:
        OSError: where the target cannot be written.
    """
    shutil.copytree(source, target, copy_function=_linked)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _line(record: dict[str, Any], gathered: Gathered) -> str:
    """The record as a line of JSON. Base64 needs no escaping, the search for which would take half of the time."""
    fields = fields_of(gathered.statistics())
    sketch = fields.pop("sketch")
    return f'{json.dumps({**record, **fields})[:-1]}, "sketch": "{sketch}"}}\n'


def _dump(data: Any, path: Path) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
