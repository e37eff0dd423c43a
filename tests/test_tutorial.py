"""docs/port-your-own-model.md does what it says: its files are written, its commands run, its output compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.special

from parity.tap import ScopedTap

TUTORIAL = Path(__file__).parents[1] / "docs" / "port-your-own-model.md"
README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(text):
    """Each command of a console block, with the output that the page shows."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, [line for line in shown.splitlines() if line.strip(" .")]


def applied(change, text):
    """A file with a change: lines that begin with a minus become those that begin with a plus."""
    old, new = ("".join(f"{line[1:]}\n" for line in change.splitlines() if line[0] == sign) for sign in "-+")
    assert text.count(old) == 1
    return text.replace(old, new)


def require_shown(shown, output):
    """Every shown line is there, in order; dots stand for anything."""
    lines = iter(output.splitlines())
    for wanted in shown:
        pattern = ".*".join(map(re.escape, wanted.split("...")))
        assert any(re.fullmatch(pattern, line.rstrip()) for line in lines), f"{wanted!r} is not in:\n{output}"


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Runs a command in the reader's folder."""
    monkeypatch.delenv("CI", raising=False)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(command):
        environment = {**os.environ, "PATH": path, "COLUMNS": "100", "PYTEST_ADDOPTS": "-p no:cacheprovider"}
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, check=False)
        return (done.stdout + done.stderr).decode()

    return run


@pytest.mark.slow
def test_the_page(shell, tmp_path):
    """From the first block to the last."""
    kinds = []
    for kind, name, text in BLOCK.findall(TUTORIAL.read_text(encoding="utf-8")):
        kinds.append(kind)
        if kind == "python":
            (tmp_path / name).write_text(text, encoding="utf-8")
        elif kind == "diff":
            (tmp_path / name).write_text(applied(text, (tmp_path / name).read_text(encoding="utf-8")), encoding="utf-8")
        else:
            for command, shown in commands(text):
                require_shown(shown, shell(command))
    assert [kinds.count(kind) for kind in ("python", "diff", "console")] == [8, 1, 7]


def test_the_readme_s_tap_records_and_gives_back():
    """Its Python is run: silent it computes attention, and in lockstep it goes on with the scores that it is given."""
    (source,) = [text for kind, _, text in BLOCK.findall(README.read_text()) if kind == "python"]
    found: dict = {}
    exec(source, found)
    queries, keys, values = np.random.default_rng(0).standard_normal((3, 4, 8))
    weights = scipy.special.softmax(queries @ keys.T, axis=-1)
    np.testing.assert_allclose(found["attend"](queries, keys, values), weights @ values, rtol=1e-12)
    seen = {}
    given = ScopedTap(lambda name, value: np.zeros_like(value) if name == "scores" else seen.setdefault(name, value))
    found["attend"](queries, keys, values, given)
    np.testing.assert_allclose(seen["context"], np.broadcast_to(values.mean(0), (4, 8)), rtol=1e-12)
