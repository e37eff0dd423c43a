"""Every row of the table runs without a framework and without a worker."""

from __future__ import annotations

import pytest

import parity.running.party  # noqa: F401  # its workers are of the real `Popen`, whichever row imports it first
from tests.bad_input.table import FRAMEWORKS, Runner


def no_worker(*arguments, **fields):
    raise AssertionError(f"a process was started: {arguments}")


@pytest.fixture
def refused(tmp_path, parity, capfd, monkeypatch):
    """Runs a row."""
    for name in FRAMEWORKS:
        monkeypatch.setitem(__import__("sys").modules, name, None)
    monkeypatch.setattr("subprocess.Popen", no_worker)
    monkeypatch.setattr("parity.running.party.Process", no_worker)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    return Runner(tmp_path, parity, capfd, monkeypatch)
