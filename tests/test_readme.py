"""README.md does what it says: what it shows is printed, and what it promises runs."""

from __future__ import annotations

import re

import pytest

from tests.pages import BLOCK, ROOT, clone, follow, shell, wherever

README = ROOT / "README.md"


@pytest.mark.slow
def test_each_output_is_printed(tmp_path):
    """On a terminal as wide as the page."""
    clone(tmp_path)
    kinds = follow(README, tmp_path, wherever, columns=88)
    assert [kinds.count(kind) for kind in ("sh", "console", "python")] == [1, 3, 1]


@pytest.mark.slow
def test_what_the_start_compares_is_at_parity(tmp_path):
    """Its lines without an output: with a picture and a sound, and of two candidates."""
    clone(tmp_path)
    start = next(text for kind, _, text in BLOCK.findall(README.read_text(encoding="utf-8")) if kind == "sh")
    first, media, both = [line.partition("#")[0] for line in start.splitlines() if line.startswith("make compare")]
    for line, verdicts in (media, ["mlx"]), (both, ["mlx", "ane"]):
        printed = shell(tmp_path)(line)
        assert re.findall(r"^(\w+) float32, one-shot: parity\.", printed, re.MULTILINE) == verdicts, printed
    assert first.strip() == 'make compare PROMPT="Hello world"'  # whose output is shown
