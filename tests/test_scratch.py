"""Folders of runs: gone at the end, and after a death with the next run."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

import pytest

from parity.scratch import PREFIX, scratch, sweep

HOLDS = """
import time
from parity.scratch import scratch
with scratch() as folder:
    print(folder, flush=True)
    time.sleep(99)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The system's temporary folder, of this test alone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    sweep.cache_clear()
    return tmp_path


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_it_is_gone_at_the_end(temporary):
    with scratch() as folder:
        (folder / "tensor").write_text("1")
        assert folder.parent == temporary
    assert left(temporary) == []


def test_what_a_killed_run_left_goes_with_the_next(temporary):
    """And what a living one has stays, as does what was never a run's."""
    (temporary / f"{PREFIX}notes").mkdir()
    (temporary / f"{PREFIX}notes" / "mine").write_text("keep")
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True) as living:
        alive = living.stdout.readline().strip()
        with subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True) as killed:
            dead = killed.stdout.readline().strip()
            killed.kill()
        assert os.path.exists(dead)
        with scratch() as mine:
            assert left(temporary) == sorted([f"{PREFIX}notes", os.path.basename(alive), mine.name])
        living.kill()


def test_a_run_that_died_before_its_lock(temporary):
    """Its folder is empty."""
    early = temporary / f"{PREFIX}early"
    early.mkdir()
    sweep(temporary)
    assert not early.exists()


@pytest.mark.parametrize("when", ["before its lock is made", "before it is held"])
def test_a_new_folder_may_be_taken_for_a_dead_runs(temporary, monkeypatch, when):
    """Whoever begins makes another one."""
    taken = []

    def sweeping(name, call):
        def first(*given):
            if not taken:
                taken.append(left(temporary))
                sweep(temporary)
            return call(*given)

        monkeypatch.setattr(name, first)

    sweeping("os.open", os.open) if "made" in when else sweeping("fcntl.flock", fcntl.flock)
    with scratch() as folder:
        monkeypatch.undo()
        assert left(temporary) == [folder.name]
        assert taken != [[folder.name]]


def test_a_run_that_died_while_it_removed_its_folder(temporary, monkeypatch):
    """What is left is known by its lock, which goes last."""

    def dies(*given):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), scratch() as folder:  # noqa: PT012 - what is removed is made there
        for name in ("a", "b", "c"):
            (folder / name).mkdir()
        monkeypatch.setattr("shutil.rmtree", dies)
    monkeypatch.undo()
    assert (folder / ".lock").exists()
    sweep.cache_clear()
    sweep(temporary)
    assert not folder.exists()


def test_a_link_of_that_name_is_not_followed(temporary):
    (temporary / "victim").mkdir()
    (temporary / "victim" / ".lock").write_text("")
    (temporary / f"{PREFIX}link").symlink_to(temporary / "victim")
    sweep(temporary)
    assert (temporary / "victim" / ".lock").exists()
