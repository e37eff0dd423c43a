"""Which workers are forked of a process that has imported their backend: those whose class says so itself."""

from __future__ import annotations

import os
import select
import sys

import pytest

from parity.discovery import BACKENDS
from parity.running import started
from parity.running.started import Forked, Start
from tests.toy import Toy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are safe on Linux alone")


class Forking(Toy):
    """Says that importing it computes nothing."""

    forks = True


class Heir(Forking):
    """A user's own class below such a one: what its module does on import, nobody said."""


@pytest.mark.parametrize(
    ("name", "forked"),
    [(f"{__name__}:Forking", True), (f"{__name__}:Heir", False), ("tests.nowhere:Forking", False)],
)
def test_a_class_that_is_not_installed_says_it_itself(name, forked):
    """And only where its module is imported here already."""
    assert started._is_forked(Start(name, BACKENDS, {}, [])) is forked
    assert "tests.nowhere" not in sys.modules


def test_another_thread_hears_how_a_worker_ended(monkeypatch):
    """Between two looks of one thread, another reads the exit code and closes the pipe: both know it."""
    status, of_the_server = os.pipe()
    worker, real = Forked(None, status), select.select
    monkeypatch.setattr(started.select, "select", lambda *given: worker._hear(b"17\n3\n") or real(*given))
    assert worker.wait() == 3
    assert worker.poll() == 3
    os.close(of_the_server)
