"""Progress: silent for quick work, one line per party elsewhere, nothing left on a terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from parity.report.progress import TerminalProgress
from parity.running.progress import Progress, Silent

ROOT = Path(__file__).parents[2]


def wait_for(condition):
    """Wait until it holds; fail after ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_silent_is_a_progress():
    """It takes every call."""
    progress: Progress = Silent()
    progress.start("oracle", 3, "prefill")
    progress.step("oracle", "text.norm")
    progress.done("oracle")


def test_quick_work_is_quiet():
    """Nothing is shown before the delay."""
    file = io.StringIO()
    with TerminalProgress(file) as progress:
        progress.start("oracle", 3, "prefill")
        progress.step("oracle", "text.norm")
    assert file.getvalue() == ""


def test_a_line_per_party_where_there_is_no_terminal():
    """Each party is announced once, whatever it does after; its name is escaped."""
    file = io.StringIO()
    with TerminalProgress(file, delay=0.01) as progress:
        progress.start("oracle", 3, "loading")
        wait_for(file.getvalue)
        progress.start("ml\x1bx", 3, "loading")
        progress.start("oracle", 3, "prefill")
        progress.done("oracle")
        progress.step("unknown", "text.norm")
    assert file.getvalue() == "parity: oracle: loading\nparity: ml\\x1bx: loading\n"


def test_threads():
    """Parties tell from threads of their own, and no step is lost."""
    with TerminalProgress(io.StringIO(), delay=0.0) as progress:

        def run(party):
            progress.start(party, 500, "prefill")
            for index in range(500):
                progress.step(party, f"text.layers.{index}")

        threads = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [line.steps for line in progress._lines.values()] == [500] * 4


PROGRAM = """
import sys, time
from parity.cli.guard import guarded
from parity.report.progress import TerminalProgress

def work():
    with TerminalProgress(delay=0.0) as progress:
        progress.start("oracle", 1229, "prefill")
        progress.step("oracle", "text.layers.10.altup.correct.router_input")
        time.sleep(0.5)
        if sys.argv[1] == "interrupted":
            raise KeyboardInterrupt
    return 0

sys.exit(guarded(work))
"""


def screen(output):
    """What a terminal shows after `output`: understands the sequences that the display uses."""
    lines, row = [""], 0
    for part in output.replace("\r\n", "\n").split("\x1b"):
        code, rest = "", part
        if part.startswith("["):
            end = next(index for index, char in enumerate(part[1:], 1) if char.isalpha())
            code, rest = part[1 : end + 1], part[end + 1 :]
        if code == "2K":
            lines[row] = ""
        elif code.endswith("A"):
            row -= int(code[:-1])
        for char in rest:
            if char == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif char != "\r":
                lines[row] += char
    return "\n".join(lines).strip()


@pytest.mark.parametrize(("how", "left", "code"), [("finished", "", 0), ("interrupted", "parity: interrupted", 130)])
def test_nothing_is_left_on_a_terminal(how, left, code):
    """The lines are drawn, then erased, and the cursor is shown again."""
    control, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment,
        cwd=ROOT,
    )
    os.close(terminal)
    output = b""
    with os.fdopen(control, "rb", buffering=0) as stream:
        try:
            while data := stream.read(65536):
                output += data
        except OSError:
            pass  # how Linux says that the other end is closed
    text = output.decode()
    assert process.wait() == code
    assert "oracle  prefill  1/1,229  text.layers.10.altup.correct.router_input" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l") >= 0
    assert screen(text) == left
