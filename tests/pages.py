"""Follows a page of the documentation: its files are written, its commands run, its output compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIGURE = re.compile(r"(?<![\w.])\d+(?:[.,]\d+|e[+-]\d+)+")
"""A number with a point, a comma or an exponent: floors and errors are, steps, layers and exit codes are not."""
OF_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
"""What the make that runs these tests hands down, and what a fresh shell has not."""
INSTALLED = {
    "python": f'case "$*" in "-I -c "*) echo yes ;; *) exec "{sys.executable}" "$@" ;; esac',
    "parity": f'PYTHONPATH="$PWD:$PYTHONPATH" exec "{sys.executable}" -m parity "$@"',
}
"""Stands in for what `make setup` installs; make asks Python whether it is installed for this very folder."""


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


def wherever(line):
    """What every machine prints: no digits of floors, heights of bars or padding, and not which step is the worst."""
    line = " ".join(re.sub("[▂-█]", "█", FIGURE.sub("#", line)).split())
    return re.sub(r"(?<=^# floors at )\S+|^\S+(?= \S+ # (free|lockstep) # #$)", "STEP", line)


def require_shown(shown, output, told=str.rstrip):
    """Every shown line is there, in order, as far as it is `told`; dots stand for anything."""
    lines = map(told, output.splitlines())
    for wanted in map(told, shown):
        pattern = ".*".join(map(re.escape, wanted.split("...")))
        assert any(re.fullmatch(pattern, line) for line in lines), f"{wanted!r} is not in:\n{output}"


def clone(folder):
    """Make a clone whose implementations may be edited, and are found before the installed ones; all else is theirs."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "implementations", folder / "implementations")
    (folder / "samples").symlink_to(ROOT / "samples")
    scripts = folder / ".venv" / "bin"
    scripts.mkdir(parents=True)
    for name, line in INSTALLED.items():
        (scripts / name).write_text(f"#!/bin/sh\n{line}\n")
        (scripts / name).chmod(0o755)
    (folder / ".venv" / ".installed").touch()


def shell(folder, columns=100):
    """Runs a command in the reader's folder, as from a fresh shell on a terminal of so many columns."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(command):
        environment = {**os.environ, "PATH": path, "COLUMNS": str(columns), "PYTEST_ADDOPTS": "-p no:cacheprovider"}
        for name in ("CI", *OF_MAKE):
            environment.pop(name, None)
        done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, check=False)
        return (done.stdout + done.stderr).decode()

    return run


def follow(page, folder, told=str.rstrip, columns=100):
    """Do what the page says, from its first block to its last; return the kinds of its blocks."""
    run = shell(folder, columns)
    kinds = []
    for kind, name, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        kinds.append(kind)
        if kind == "console":
            for command, shown in commands(text):
                require_shown(shown, run(command), told)
        elif kind == "diff":
            (folder / name).write_text(applied(text, (folder / name).read_text(encoding="utf-8")), encoding="utf-8")
        elif name:
            (folder / name).write_text(text, encoding="utf-8")
    return kinds
