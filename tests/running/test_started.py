"""Workers that are forked of a process which has imported their backend: they are like those that start alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from parity.checkpoint import Checkpoint
from parity.running import started
from parity.running.party import Crash, Party
from parity.running.progress import Silent
from tests.running.test_process import eventually, is_alive
from tests.toy import Toy, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are safe on Linux alone")

TOLD, GATE = "TOLD", "GATE"
"""The variables with the files where a server tells of itself, and that it may wait for."""


class Preloaded(Toy):
    """Tells that it was imported, and by whom."""

    @classmethod
    def environment(cls):
        """One variable, which the process is started with."""
        return {"ASKED": "for"}

    @classmethod
    def preload(cls):
        """Adds a line to a file."""
        with Path(os.environ[TOLD]).open("a") as file:
            print(os.getpid(), file=file)

    @classmethod
    def doctor(cls):
        """What the worker is."""
        variables = Path("/proc/self/environ").read_text().split("\0")
        files = [
            os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink() and entry.exists()
        ]
        yield True, "pid", f"{os.getpid()} {os.getppid()} {os.getpgid(0)}"
        yield True, "folder", os.getcwd()
        yield True, "asked", str("ASKED=for" in variables and os.environ["ASKED"] == "for")
        yield True, "given", os.environ.get("GIVEN", "")
        yield True, "sockets and pipes", str(sum(name.startswith(("socket:", "pipe:")) for name in files))
        yield True, "threads", str(threading.active_count())


class Slow(Preloaded):
    """Never ends to import."""

    @classmethod
    def preload(cls):
        """Says so, and waits."""
        super().preload()
        time.sleep(600)


class Waiting(Preloaded):
    """Takes as long to import as a file is not there."""

    @classmethod
    def preload(cls):
        """Says that it began."""
        super().preload()
        while not Path(os.environ[GATE]).exists():
            time.sleep(0.01)


class Refusing(Preloaded):
    """Throws, where nobody sees it, and again in each worker."""

    @classmethod
    def preload(cls):
        """As a library does that is installed wrong."""
        raise ImportError("no such library")

    @classmethod
    def doctor(cls):
        """The same."""
        raise ImportError("no such library")


class Leaving(Preloaded):
    """Ends the process that imports it."""

    @classmethod
    def preload(cls):
        """With a code of its own."""
        os._exit(7)


class Ending(Preloaded):
    """Ends its worker."""

    @classmethod
    def doctor(cls):
        """With a code of its own."""
        os._exit(9)


@pytest.fixture(autouse=True)
def told(tmp_path, monkeypatch):
    """Processes that have imported; toys count as installed references, and no server is left behind."""
    file = tmp_path / "told"
    monkeypatch.setenv(TOLD, str(file))
    monkeypatch.setattr(started, "_is_forked", lambda start: True)
    monkeypatch.setattr(started, "_SERVERS", {})
    yield lambda: [int(line) for line in file.read_text().split()] if file.exists() else []
    started.end_servers()


def party(kind=Preloaded, **how):
    """One whose worker is forked."""
    return Party("it", f"tests.running.test_started:{kind.__name__}", progress=Silent(), **how)


def said(worker):
    """What it says of itself."""
    return {what: found for _, what, found in worker.call("doctor")}


def test_two_workers_import_once(told, tmp_path, monkeypatch):
    """Each in a group of its own, in the folder of its harness, and without a file of the other's."""
    with party() as one, party() as other:
        first = said(one)
        monkeypatch.chdir(tmp_path)
        second = said(other)
    (server,) = told()
    (pid, parent, group), (another, *_) = first["pid"].split(), second["pid"].split()
    assert (int(parent), group) == (server, pid)
    assert another != pid
    assert (first["folder"] != str(tmp_path), first["asked"], second["asked"]) == (True, "True", "True")
    assert first["sockets and pipes"] == second["sockets and pipes"] == "1"
    assert first["threads"] == "2"  # its own, and the one that ends it with the harness


def test_a_folder_that_changed(told, tmp_path, monkeypatch):
    with party() as one:
        said(one)
        monkeypatch.chdir(tmp_path)
        with party() as other:
            assert said(other)["folder"] == str(tmp_path)
    assert len(told()) == 1


def test_another_environment_is_another_import(told):
    with party() as one, party(environment={"GIVEN": "by hand"}) as other:
        assert (said(one)["given"], said(other)["given"]) == ("", "by hand")
    assert len(set(told())) == 2


def test_servers_that_nobody_needs_end(told):
    """The oldest, where there would be more than a comparison needs; none of which a worker lives."""
    with party(environment={"GIVEN": "0"}) as living:
        said(living)
        for given in "123":
            with party(environment={"GIVEN": given}) as other:
                said(other)
        assert said(living)["given"] == "0"
    assert [is_alive(server) for server in told()] == [True, False, False, True]
    assert len(told()) == 4


def test_it_runs_as_one_that_started_alone(tmp_path, monkeypatch):
    oracle = write(tmp_path, "oracle", Toy())
    found = []
    for forked in (True, False):
        monkeypatch.setattr(started, "_is_forked", lambda start, forked=forked: forked)
        with party() as worker:
            worker.load(Checkpoint(tmp_path, "toy", "weights"), "float32")
            found.append(worker.run(tmp_path / f"run-{forked}", oracle=oracle))
    assert {key: record.digest for key, record in found[0].records.items()} == {
        key: record.digest for key, record in found[1].records.items()
    }


def test_how_a_worker_ended_is_said():
    with party(Ending) as worker, pytest.raises(Crash, match="it crashed before its first step: exit code 9"):
        worker.call("doctor")


def test_a_worker_that_is_killed():
    with party() as worker:
        os.kill(int(said(worker)["pid"].split()[0]), 9)
        with pytest.raises(Crash, match="killed, most likely for want of memory"):
            worker.call("doctor")


def test_what_cannot_be_imported_says_so_in_the_worker():
    with party(Refusing) as worker, pytest.raises(Crash, match="ImportError: no such library"):
        worker.call("doctor")


def test_a_server_that_ends_is_its_workers_end():
    """Whatever ends it would end the worker, which imports the same; the next one has a server of its own."""
    for _ in range(2):
        with party(Leaving) as worker, pytest.raises(Crash, match="exit code 7"):
            worker.call("doctor")


def test_a_server_that_was_killed_is_replaced(told):
    with party() as worker:
        said(worker)
    os.kill(told()[0], 9)
    eventually(lambda: not is_alive(told()[0]))
    with party() as worker:
        assert int(said(worker)["pid"].split()[1]) == told()[1]


def test_a_worker_that_is_ended_before_it_is_there(told):
    """At once, and with it the server that nobody else can use."""
    with party(Slow):
        server = eventually(told)[0]
    assert not is_alive(server)


def test_one_of_two_that_is_ended_before_it_is_there(told, tmp_path, monkeypatch):
    """At once too, and the other one is there in the end."""
    monkeypatch.setenv(GATE, str(tmp_path / "gate"))
    with party(Waiting) as other:
        with party(Waiting):
            eventually(told)
        (tmp_path / "gate").touch()
        assert int(said(other)["pid"].split()[1]) == told()[0]


def test_ended_workers_are_gone(told):
    with party() as worker:
        pid = int(said(worker)["pid"].split()[0])
    assert not is_alive(pid)
    assert is_alive(told()[0])
    started.end_servers()
    assert not is_alive(told()[0])


HARNESS = """
import os, time
from tests.running.test_started import *
started._is_forked = lambda start: True
one = party({kind})
{then}
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    ("kind", "then"),
    [("Slow", "while not os.path.exists(os.environ[TOLD]): time.sleep(0.01)"), ("Preloaded", "said(one)")],
)
def test_a_server_ends_with_its_harness(told, kind, then):
    """Also where that is killed, and where it imports still."""
    subprocess.run([sys.executable, "-c", HARNESS.format(kind=kind, then=then)], check=False)
    eventually(lambda: not is_alive(told()[0]))
