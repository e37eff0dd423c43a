"""The table of bad inputs: what a row is, and what holds for every row.

Whatever a user gives, by mistake or on purpose: the exit code of README.md, one line on standard error of at most 500
characters that names cause and cure, nothing else on it, and nothing left behind. Rows run in this process, where
no framework can be imported and no worker be started, so that what `config.json` or a manifest decides is decided
by them alone.
"""

from __future__ import annotations

import faulthandler
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from parity.cli.guard import guarded

FRAMEWORKS = ("torch", "transformers", "mlx", "mlx_lm", "mlx_vlm", "timm", "torchvision")
LONGEST = len("parity: ") + 500
PATIENCE = 20
"""Seconds that a row may take on a busy machine, before the tests end there."""
NOBODY = 65_534
"""The user whom no file of the tests belongs to, for tests that run as root, who may read everything."""

Make = Callable[[Path], object]
"""Makes the bad input in a folder, which is the current one when the row runs."""


@dataclass(frozen=True)
class Row:
    """One bad input.

    Attributes:
        name: of the test.
        command: the command line behind ``parity``; or a call of the project's own code, as its users make it.
        make: makes what the command is given.
        code: the exit code.
        words: of the cause and of the cure, in the line.
        unprivileged: whether the row runs as a user who owns nothing.
    """

    name: str
    command: str | Callable[[], object]
    make: Make
    code: int
    words: tuple[str, ...]
    unprivileged: bool = False


def nothing(folder: Path) -> None:
    """Nothing is needed."""


def row(name: str, command: str | Callable[[], object], *words: str, make: Make = nothing, code: int = 2) -> Row:
    """A row, by name."""
    return Row(name, command, make, code, words)


def table(rows: Sequence[Row]) -> pytest.MarkDecorator:
    """The rows as parameters of a test."""
    names = [each.name for each in rows]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    return pytest.mark.parametrize("row", rows, ids=names)


class Runner:
    """Runs rows in folders of their own.

    Args:
        folder: an empty one.
        parity: runs the command in this process.
        capfd: pytest's, for calls.
        monkeypatch: pytest's.
    """

    def __init__(self, folder: Path, parity: Callable, capfd, monkeypatch) -> None:
        self.here, self._temporary = folder / "here", folder / "temporary"
        self._parity, self._capfd = parity, capfd
        self.here.mkdir()
        self._temporary.mkdir()
        self._temporary.chmod(0o777)
        monkeypatch.chdir(self.here)
        monkeypatch.delenv("CI", raising=False)  # where goldens are not made anew
        monkeypatch.setenv("TMPDIR", str(self._temporary))
        monkeypatch.setattr("tempfile.tempdir", str(self._temporary))

    def __call__(self, given: Row) -> str:
        """Check a row; returns its line."""
        given.make(self.here)
        before = listing(self.here)
        faulthandler.dump_traceback_later(PATIENCE, exit=True)  # what waits for a pipe in a library hears no signal
        with _nobody() if given.unprivileged else _oneself():
            code, said, complaint = self.run(given.command)
        faulthandler.cancel_dump_traceback_later()
        assert (code, complaint.count("\n"), complaint[-1:]) == (given.code, 1, "\n"), complaint + said
        assert "Traceback" not in complaint
        assert "internal error" not in complaint, complaint
        assert len(complaint) - 1 <= LONGEST
        for word in given.words:
            assert word in complaint, complaint
        assert listing(self.here) == before, complaint
        assert not list(self._temporary.iterdir()), complaint
        return complaint

    def run(self, command: str | Callable[[], object]) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        if isinstance(command, str):
            return self._parity(*shlex.split(command))
        code = guarded(lambda: (command(), 0)[1])
        return code, *self._capfd.readouterr()


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            stat = path.lstat()
            found[str(path.relative_to(folder))] = (stat.st_size, stat.st_mtime_ns)
    return found


@contextmanager
def _nobody() -> Iterator[None]:
    """As a user who owns nothing, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@contextmanager
def _oneself() -> Iterator[None]:
    yield
