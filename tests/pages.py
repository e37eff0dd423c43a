"""Follows a page of the documentation: its files are written, its commands run, its output compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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


def shell(folder):
    """Runs a command in the reader's folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(command):
        environment = {**os.environ, "PATH": path, "COLUMNS": "100", "PYTEST_ADDOPTS": "-p no:cacheprovider"}
        environment.pop("CI", None)
        done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, check=False)
        return (done.stdout + done.stderr).decode()

    return run


def follow(page, folder, run):
    """Do what the page says, from its first block to its last; return the kinds of its blocks."""
    kinds = []
    for kind, name, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        kinds.append(kind)
        if kind == "python":
            (folder / name).write_text(text, encoding="utf-8")
        elif kind == "diff":
            (folder / name).write_text(applied(text, (folder / name).read_text(encoding="utf-8")), encoding="utf-8")
        else:
            for command, shown in commands(text):
                require_shown(shown, run(command))
    return kinds
