"""docs/serving.md does what it says: its server is started, and its clients ask it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openai")
pytest.importorskip("mlx.core")

from parity.serving import chat, gate, refusal
from parity.serving.chat import IGNORED, NEUTRAL, ChatRequest
from tests.pages import BLOCK, commands, require_shown

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


def test_the_page(capfd):
    """From the first block that starts a server to the last one that asks it; only the port is another."""
    (start, _), client, terminal = (
        [text for kind, _, text in BLOCK.findall(PAGE) if kind == wanted] for wanted in ("sh", "python", "console")
    )
    program, *words = shlex.split(start)
    assert program == "parity"
    command = [sys.executable, "-m", "parity", *words, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            address = re.match(r"(http://\S+)/v1 answers as tiny; ", process.stdout.readline()).group(1)
            there = lambda text: text.replace("http://127.0.0.1:8000", address)  # noqa: E731
            exec(compile(there(client[0]), "serving.md", "exec"), {})
            assert capfd.readouterr().out == "three blue shapes\nthree blue shapes"
            for line, shown in commands(there(terminal[0])):
                done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
                require_shown(shown, done.stdout)
        finally:
            process.kill()


def test_every_field_is_told():
    """Of what may be asked, and every code of what can go wrong."""
    told = set(re.findall(r"`(\w+)`", PAGE))
    assert {*ChatRequest.model_fields, *IGNORED, *NEUTRAL} <= told
    sources = [Path(module.__file__).parent.glob("*.py") for module in (chat, gate, refusal)]
    codes = {code for files in sources for file in files for code in re.findall(r'code="(\w+)"', file.read_text())}
    assert {"rate_limit_exceeded", "model_crashed"} < codes <= told
