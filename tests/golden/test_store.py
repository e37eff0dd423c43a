"""Replacing a set of goldens: whenever the process dies, the old or the new set is whole, and the next update works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from parity.errors import UsageError
from parity.golden.format import ChunkManifest, Golden, GoldenManifest
from parity.golden.store import Store
from tests.toy import CONTRACT, SCENARIO

NAMES = ("one", "two", "three")


def golden(name, model):
    """A golden of two files of arrays; which set it is of, its model says."""
    chunks = [ChunkManifest(phase=chunk.phase, records=1, shapes=[[1]]) for chunk in SCENARIO.chunks]
    manifest = GoldenManifest(
        name=name,
        model=model,
        weights="w",
        contract=CONTRACT.digest,
        steps="",
        reference="toy",
        versions={},
        dtypes=[],
        prompt=None,
        command="",
        scenario=SCENARIO.to_json(),
        tokens=0,
        chunks=chunks,
    )
    return Golden(manifest, {chunk.phase: {"shape": np.zeros(1, np.uint16)} for chunk in chunks}, (), ())


def replace(folder, model):
    """Put a set in the place of what is there, as `parity golden update` does; two are made anew, one is kept."""
    store = Store(folder)
    with store.locked():
        kept = frozenset(store.names())
        made = [name for name in NAMES if name not in kept] or NAMES[:2]
        store.replace({name: golden(name, model) for name in made}, CONTRACT, kept)


def contents(folder):
    """Every file's bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Died(BaseException):
    """What stands for the process's end: nothing that is caught on the way."""


class Death:
    """Ends every operation on files from the one of a number on, as a process that is dead does none."""

    def __init__(self):
        self.left, self.thread = None, None
        sys.addaudithook(self.hear)

    def hear(self, event, arguments):
        """Called before each operation."""
        if (
            self.left is None
            or threading.get_ident() != self.thread
            or not event.startswith(("os.", "shutil.", "open"))
        ):
            return
        self.left -= 1
        if self.left < 0:
            raise Died(event)

    def after(self, number, action):
        """Whether `action` came to its end with so many operations."""
        self.left, self.thread = number, threading.get_ident()
        try:
            action()
        except Died:
            return False
        finally:
            self.left = None
        return True


DEATH = Death()
"""One for all tests: an audit hook stays until the interpreter ends."""


@pytest.fixture
def folder(tmp_path):
    """Of a set."""
    return tmp_path / "goldens"


@pytest.fixture
def whole(tmp_path):
    """What the old and the new set are when nothing dies."""
    replace(tmp_path / "other", "old")
    old = contents(tmp_path / "other")
    replace(tmp_path / "other", "new")
    return old, contents(tmp_path / "other")


def require_whole(folder, whole):
    """Whoever reads next finds one of the two sets; whoever replaces it next leaves the new one, and nothing beside."""
    assert Store(folder).names() == tuple(sorted(NAMES))
    assert contents(folder) in whole
    replace(folder, "new")
    assert contents(folder) == whole[1]
    assert not [path.name for path in folder.parent.iterdir() if path.name.startswith(f".{folder.name}")]


def test_death_at_every_operation(tmp_path, whole):
    """Of the first replacement and of what the next one finds."""
    died = 0
    while True:
        folder = tmp_path / f"set-{died}"
        replace(folder, "old")
        if DEATH.after(died, lambda folder=folder: replace(folder, "new")):
            break
        require_whole(folder, whole)
        died += 1
    assert died > 50


@pytest.mark.parametrize("first", range(20, 120, 9))
def test_death_again_while_it_is_put_right(tmp_path, whole, first):
    """The next update dies too, wherever the last one did."""
    for second in range(0, 140, 7):
        folder = tmp_path / f"set-{second}"
        replace(folder, "old")
        for number in (first, second):
            DEATH.after(number, lambda folder=folder: replace(folder, "new"))
        require_whole(folder, whole)


def test_what_a_dead_update_left_does_not_come_back(folder, whole):
    """It died while it removed the old set; then somebody removes the new one, and makes all again."""
    replace(folder, "old")
    old = folder.with_name(f".{folder.name}.old")
    folder.rename(old)
    replace(folder, "new")
    (folder.with_name(f".{folder.name}.old") / "one").mkdir(parents=True)
    require_whole(folder, (contents(folder), whole[1]))


def churn(folder):
    """Replaces the set for ever."""
    while True:
        for model in ("new", "old"):
            replace(folder, model)


@pytest.mark.parametrize("milliseconds", [0, 13, 47])
def test_sigkill(folder, whole, milliseconds):
    """A process that is killed."""
    replace(folder, "old")
    code = f"import pathlib; from tests.golden.test_store import churn; print(1, flush=True); churn({str(folder)!r})"
    code = code.replace("churn('", "churn(pathlib.Path('").removesuffix(")") + "))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.read(1)
    time.sleep(milliseconds / 1000)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    assert Store(folder).names() == tuple(sorted(NAMES))
    models = {name: (folder / name / "manifest.json").read_text().count('"new"') for name in NAMES[:2]}
    assert len(set(models.values())) == 1
    replace(folder, "new")
    assert contents(folder) == whole[1]


def test_a_reader_between_the_renames_waits(folder, whole, monkeypatch):
    """It does not put the old set back under the feet of a process that is alive."""
    replace(folder, "old")
    found, between = [], threading.Event()
    rename = os.rename

    def slow(source, target, **options):
        rename(source, target, **options)
        if str(target).endswith(".old"):
            between.set()
            time.sleep(0.2)

    def read():
        between.wait()
        found.append(Store(folder).names())

    reader = threading.Thread(target=read)
    reader.start()
    monkeypatch.setattr(os, "rename", slow)
    replace(folder, "new")
    reader.join()
    assert found == [tuple(sorted(NAMES))]
    assert contents(folder) == whole[1]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed(tmp_path, whole, there):
    """The set is replaced where it is, and the link stays; also one to a folder that is still to be made."""
    target, link = tmp_path / "elsewhere" / "goldens", tmp_path / "link"
    if there:
        replace(target, "old")
    link.symlink_to(target)
    replace(link, "old")
    replace(link, "new")
    assert link.is_symlink()
    assert contents(target) == whole[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "link", "other"]


def test_a_file_or_a_loop_is_refused(folder):
    """One line; nothing is moved."""
    folder.write_text("precious")
    with pytest.raises(UsageError, match="is no folder; remove it, or name another"):
        replace(folder, "new")
    assert folder.read_text() == "precious"
    folder.unlink()
    folder.symlink_to(folder)
    with pytest.raises(UsageError, match="cannot write goldens to"):
        replace(folder, "new")


def test_a_leftover_that_cannot_be_removed_is_named(folder):
    """One line, and the set is as it was."""
    replace(folder, "old")
    before = contents(folder)
    folder.with_name(f".{folder.name}.new").write_text("a file")
    with pytest.raises(UsageError, match=r"cannot write goldens to .*\.goldens\.new"):
        replace(folder, "new")
    assert contents(folder) == before
