"""What a command takes of memory: its own and its children's, without pages of files."""

import signal
import subprocess
import sys

import pytest

from tools import memory

pytestmark = pytest.mark.skipif(not (memory.PROC / "self" / "smaps_rollup").exists(), reason="needs Linux")

CHILD = "import time; x = bytearray(60_000_000); time.sleep(1.5)"
PARENT = f"""
import mmap, subprocess, sys
file = open(sys.argv[1], "rb")
mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
assert sum(mapped[::4096]) == 0
x = bytearray(40_000_000)
subprocess.run([sys.executable, "-c", {CHILD!r}], check=True)
sys.exit(3)
"""


def test_all_processes_without_pages_of_files(tmp_path):
    """100 MB of two processes; the 200 MB that they look at in a file can be dropped."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(200_000_000)
    code, peak = memory.measured([sys.executable, "-c", PARENT, str(tmp_path / "file")], every=0.02)
    assert code == 3
    assert peak.processes == 2
    assert 100e6 < peak.held < 130e6


def test_the_command_line():
    """The exit code is the command's, the peak comes last on standard error."""
    command = [sys.executable, "-m", "tools.memory", sys.executable, "-c", "import sys; sys.exit(5)"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 5
    assert found.stderr.startswith("peak 0.0")


ENDLESS = "import time; x = bytearray(50_000_000); print('begun', flush=True); time.sleep(60)"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt(number):
    """It is the command's, which ends of it; the peak until then is said, and the exit code is the shells'."""
    command = [sys.executable, "-m", "tools.memory", sys.executable, "-c", ENDLESS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert said.splitlines()[-1].startswith("peak 0.0")


@pytest.mark.parametrize(
    ("command", "line"), [([], "no command is given"), (["no-such-command"], "no-such-command cannot be run")]
)
def test_what_cannot_be_measured(capsys, command, line):
    """Said in a line behind the usage."""
    with pytest.raises(SystemExit):
        memory.main(command)
    assert line in capsys.readouterr().err


def test_another_system(capsys, monkeypatch, tmp_path):
    """Where there is no such file."""
    monkeypatch.setattr(memory, "PROC", tmp_path)
    with pytest.raises(SystemExit):
        memory.main(["true"])
    assert "measure on Linux" in capsys.readouterr().err
