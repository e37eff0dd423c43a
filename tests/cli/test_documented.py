"""Each command that a page names is one: the command line understands it, and make has the target."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from parity.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = r"(?:^(?:\$ )?|`)(?:\.venv/bin/|python -m )?{} ([a-z][^`\n]*)"
"""A line of a block, with or without its prompt, or text between backticks."""


def shown(program):
    """The arguments that pages give to a program, each with its page."""
    pattern = re.compile(SHOWN.format(program), re.MULTILINE)
    return [
        pytest.param(shlex.split(text, comments=True), id=f"{page.name}: {text.strip()}")
        for page in PAGES
        for text in dict.fromkeys(pattern.findall(page.read_text(encoding="utf-8")))
    ]


def understand(command, name, words, parent=None):
    """Read the words as the command line does, and run nothing."""
    bare = not words
    try:
        context = command.make_context(name, list(words), parent=parent)
    except Exception as error:
        if not (bare and type(error).__name__ in ("MissingParameter", "NoArgsIsHelpError")):
            raise  # a page may speak of a command by its name alone
        return
    if hasattr(command, "resolve_command"):
        word, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        understand(inner, word, rest, context)


@pytest.mark.parametrize("words", shown("parity"))
def test_the_command_line_understands_it(words):
    understand(typer.main.get_command(app), "parity", words)


@pytest.mark.parametrize("words", [["compare", "--candidate", "mlx"], ["variants", "list", "--sampel"], ["compair"]])
def test_another_is_not_understood(words):
    """An option or a command that there is not, at any depth."""
    with pytest.raises(Exception, match="No such"):
        understand(typer.main.get_command(app), "parity", words)


@pytest.mark.parametrize("words", shown("make"))
def test_make_has_the_target_and_the_variables(words):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    target, *variables = words
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    listed = re.findall(r"^## ([A-Z_]+) ", makefile, re.MULTILINE)
    assert [word for word in variables if word.partition("=")[0] not in listed] == []
