"""What a row begins with before it is spoilt: a checkpoint, traces, a report, goldens; and how files are spoilt."""

from __future__ import annotations

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parity.golden.sets import GoldenSet
from parity.report.json import write_whole
from reference.goldens import ROOT as GOLDENS
from reference.goldens import catalogue
from reference.tiny import path as tiny
from tests.toy import Port, Toy, runs, write

BASE = tempfile.gettempdir()
Spoil = Callable[[Path], object]
"""Makes something bad of a file, which is there or not."""


def checkpoint(folder: Path, name: str = "model") -> Path:
    """The embedded checkpoint, its weights a link."""
    made = folder / name
    made.mkdir()
    for file in tiny().iterdir():
        copied = file.suffix == ".safetensors"
        (os.link if copied and _one_device(file, made) else shutil.copyfile)(file, made / file.name)
    return made


def _one_device(file: Path, folder: Path) -> bool:
    return file.stat().st_dev == folder.stat().st_dev


@functools.cache
def _kept() -> tempfile.TemporaryDirectory:
    """Traces of the toy and a report, made once a process."""
    kept = tempfile.TemporaryDirectory(dir=BASE)
    folder = Path(kept.name)
    oracle = write(folder, "oracle", Toy())
    runs(folder, "baseline", Toy("float32"), oracle)
    runs(folder, "port", Port("float32"), oracle)
    return kept


def traces(folder: Path) -> Path:
    """Traces of a toy: `oracle`, `baseline.free`, `port.free` and their lockstep runs."""
    shutil.copytree(_kept().name, folder, dirs_exist_ok=True)
    for made in (folder, *folder.iterdir()):
        made.chmod(0o755)
    return folder


def goldens(folder: Path, name: str = "one-shot") -> Path:
    """One golden of the embedded checkpoint, with its contract."""
    kept = folder / "goldens"
    kept.mkdir()
    shutil.copy(GOLDENS / "tiny" / "contract.json", kept)
    shutil.copytree(GOLDENS / "tiny" / name, kept / name)
    return kept


def golden_set() -> GoldenSet:
    """What ``--set`` names: the goldens of the current folder."""
    whole = catalogue()
    return GoldenSet(Path("goldens"), tuple(entry for entry in whole.entries if entry.name == "one-shot"),
                     steps=whole.steps)  # fmt: skip


SET = "--set tests.bad_input.inputs:golden_set"


def report(folder: Path) -> Path:
    """A report of a comparison."""
    from parity.judging.judge import judge
    from parity.judging.judgement import Comparison
    from parity.report.json import dumps
    from parity.traces.runs import Runs
    from parity.traces.trace import Trace

    home = Path(_kept().name)
    oracle, port = Trace.read(home / "oracle"), Trace.read(home / "port.free")
    judgement = judge(oracle=oracle, baseline=None, candidate=Runs(free=port, lockstep=None))
    text = dumps(Comparison(oracle.contract, oracle.manifest, (judgement,)))
    (folder / "report").mkdir()
    return write_whole(folder / "report" / "report.json", text)


def edited(*place: str | int, value: Any) -> Spoil:
    """Puts a value at a place of a JSON file; `DELETED` takes it away."""

    def spoil(file: Path) -> None:
        data = json.loads(file.read_text(encoding="utf-8"))
        inner = data
        for name in place[:-1]:
            inner = inner[name]
        if value is DELETED:
            del inner[place[-1]]
        else:
            inner[place[-1]] = value
        file.write_text(json.dumps(data), encoding="utf-8")

    return spoil


DELETED = object()


def text(content: str) -> Spoil:
    """Has another text."""
    return lambda file: file.write_text(content, encoding="utf-8")


def data(content: bytes) -> Spoil:
    """Has other bytes."""
    return lambda file: file.write_bytes(content)


def cut(share: float) -> Spoil:
    """Ends after a share of its bytes."""
    return lambda file: data(file.read_bytes()[: int(file.stat().st_size * share)])(file)


def both(*spoils: Spoil) -> Spoil:
    """One after the other."""

    def spoil(file: Path) -> None:
        for one in spoils:
            one(file)

    return spoil


def alone(file: Path) -> None:
    """Is no link to another file any more, so that it can be written to."""
    copy = file.read_bytes() if file.stat().st_size < 1 << 20 else b""
    file.unlink()
    file.write_bytes(copy)


def instead(make: Spoil) -> Spoil:
    """Takes the file away and makes something else in its place."""

    def spoil(file: Path) -> None:
        file.unlink()
        make(file)

    return spoil


def pipe(file: Path) -> None:
    """A FIFO, from which nothing ever comes."""
    os.mkfifo(file)


def device(file: Path) -> None:
    """A link to a device that never ends."""
    file.symlink_to("/dev/zero")


def loop(file: Path) -> None:
    """A link to itself."""
    file.symlink_to(file.name)


def forbidden(file: Path) -> None:
    """A file that nobody may read."""
    file.write_text("{}")
    file.chmod(0)


def at(path: str, surroundings: Spoil, *spoils: Spoil) -> Spoil:
    """Makes the surroundings in a folder, and spoils what is at a path in it."""

    def make(folder: Path) -> None:
        surroundings(folder)
        for spoil in spoils:
            spoil(folder / path)

    return make
