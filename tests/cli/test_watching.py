"""`parity watch`: a verdict at each save of the port's file."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parity.discovery import source_of
from parity.errors import UsageError

pytest.importorskip("watchfiles")

TOY = "tests.toy:Toy"
RIGHT = """
from tests.toy import Port

class Mine(Port):
    def __init__(self, dtype):
        super().__init__(dtype, {"embed": lambda x: x})
"""
WRONG = RIGHT.replace("x: x", "x: x * 1.001")


def watching(folder, *more):
    """The command in the folder of a port, its output line by line."""
    command = ["watch", "--candidates", "my_port:Mine", "--reference", TOY, "--scenario", "toy", *more]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "parity", *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process, wanted):
    """The next line that holds this, and those before it are over."""
    return next(line for line in process.stderr if wanted in line)


def test_a_save_is_judged_until_an_interrupt(tmp_path):
    """A right port, a wrong one, one that is no Python, and an end as of any command."""
    port = tmp_path / "my_port.py"
    port.write_text(RIGHT)
    with watching(tmp_path) as process:
        assert "exit code 0; a save in" in said(process, "exit code")
        for text, code in ((WRONG, 1), ("class Mine(:\n", 3)):
            port.write_text(text)
            assert said(process, "saved") == "parity: saved: my_port.py\n"
            assert f"exit code {code}; a save in {tmp_path}" in said(process, "exit code")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == "parity: interrupted\n"


def test_what_cannot_be_compared_is_not_watched(tmp_path):
    (tmp_path / "my_port.py").write_text(RIGHT)
    with watching(tmp_path, "--dtype", "float31") as process:
        assert process.wait(60) == 2
        assert "has no dtype 'float31'" in process.stderr.read()


def test_where_a_backend_is_written():
    here = Path(__file__).parents[2]
    assert source_of("mlx@threads=2") == here / "implementations"
    assert source_of("tests.toy:Toy") == here / "tests"
    assert source_of("shlex:Port") == Path(shlex.__file__)
    with pytest.raises(UsageError, match="there is no module of nowhere:Port to look at"):
        source_of("nowhere:Port")
