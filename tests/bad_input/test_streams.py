"""Where a command runs: closed and full streams, odd sizes of a terminal, disks without room. Each in a process."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bad_input import inputs

ROOT = Path(__file__).parents[2]
SIZES = ("²", "-1", "x", "", "9" * 30, "1e9", "٣", "0", "\n")


def parity(folder: Path, command: str, *, limit: int | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Runs a command line of a shell, in which ``parity`` is the program."""

    def limited() -> None:
        """A file may have so many bytes; beyond it there is an error, and no signal."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    path = {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "temporary"), "PYTHONDONTWRITEBYTECODE": "1"}
    (folder / "temporary").mkdir(exist_ok=True)
    return subprocess.run(
        ["bash", "-c", f"parity() {{ '{sys.executable}' -m parity \"$@\"; }}; {command}"],
        cwd=folder, env={**os.environ, **path, **environment}, capture_output=True, text=True, check=False,
        timeout=100, preexec_fn=limited if limit is not None else None,
    )  # fmt: skip


def lines(done: subprocess.CompletedProcess) -> tuple[int, list[str]]:
    """Its exit code and what it says on standard error."""
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["COLUMNS", "LINES"])
def test_odd_sizes_of_a_terminal_are_passed_over(name, size, monkeypatch):
    """They are no input of the user's, who need not hear of them."""
    from parity.cli.surroundings import settle

    monkeypatch.setenv(name, size)
    settle()
    assert name not in os.environ


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("COLUMNS=² parity show nowhere", "is not a trace"),
        ("parity show oracle >&-", "standard output is closed; send it to /dev/null"),
        ("parity --help >&-", "standard output is closed"),
        ("parity show nowhere <&-", "is not a trace"),
        ("parity show oracle > /dev/full", "No space left on device"),
        ("parity show $'\\xff\\xfe'", "is not a trace"),
        ("parity compare --prompt $'\\xff'", "the prompt is not valid UTF-8"),
        ("PARITY_PROMPT=$'\\xed\\xa0\\x80' parity compare", "the prompt is not valid UTF-8"),
        ("parity compare --image $'\\xff.png'", "no such file"),
    ],
)
def test_streams(command, said, tmp_path):
    """One line and exit 2."""
    inputs.traces(tmp_path)
    code, (line,) = lines(parity(tmp_path, command))
    assert code == 2
    assert said in line


def test_a_closed_standard_error_is_silence(tmp_path):
    assert lines(parity(tmp_path, "parity show nowhere 2>&-")) == (2, [])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("parity report report --output out", "File too large"),
        ("parity trace --backend tests.toy:Toy --reference tests.toy:Toy --scenario toy --output out", "make room"),
        (
            "parity compare --candidates tests.toy:Port --reference tests.toy:Toy --scenario toy --keep kept",
            "make room",
        ),
    ],
)
def test_a_full_disk(command, said, tmp_path):
    """A party that cannot write is not to blame: exit 2, what there is no room for, and no half a trace."""
    inputs.report(tmp_path)
    code, (*progress, line) = lines(parity(tmp_path, command, limit=2000))
    assert (code, [told for told in progress if " run" not in told and " loading " not in told]) == (2, [])
    assert said in line
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".partial")]
    assert not list((tmp_path / "temporary").iterdir())
