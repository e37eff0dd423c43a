"""Chat templates that anybody may have written: they loop, grow, fail, refuse, or reach for what is not theirs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
from parity.generation import Message
from parity.media import Part
from tests.bad_input import inputs
from tests.bad_input.inputs import data, instead, text
from tests.bad_input.table import Row, table

NESTED = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
GROWING = "{% set n = namespace(s='ab') %}{% for a in range(99) %}{% set n.s = n.s JOIN n.s %}{% endfor %}"
LOOP, MAKES, NUMBERS = (
    "runs more than 200,000 lines",
    "makes more than 16,777,216 characters",
    "numbers beyond 1,048,576",
)
TEMPLATES = {
    "loops": (NESTED, LOOP),
    "loops-printing": (NESTED.replace("{% endfor %}{% endfor %}", "x{% endfor %}{% endfor %}"), LOOP),
    "loops-in-a-macro": ("{% macro m(n) %}" + NESTED + "{% endmacro %}{{ m(1) }}", LOOP),
    "calls-itself": ("{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}", "recursion"),
    "long-range": ("{% for a in range(10**9) %}{% endfor %}", NUMBERS),
    "grows": (GROWING.replace("JOIN", "~"), MAKES),
    "grows-by-plus": (GROWING.replace("JOIN", "+"), MAKES),
    "grows-by-lists": (GROWING.replace("'ab'", "[1]").replace("JOIN", "+"), MAKES),
    "grows-in-a-variable": ("{% set s = 'ab' %}" + "{% set s = s ~ s %}" * 99, MAKES),
    "prints-much": ("{% for a in range(900) %}{{ 'ab' * 99999 }}{% endfor %}", MAKES),
    "times": ("{{ 'ab' * 10**9 }}", NUMBERS),
    "times-often": ("{{ 'ab' * 99999 * 99999 }}", ""),
    "power": ("{{ 9 ** 9999999 }}", NUMBERS),
    "power-of-power": ("{{ 99999 ** 99999 ** 9999 }}", ""),
    "centred": ("{{ 'a'|center(10**9) }}", NUMBERS),
    "justified": ("{{ 'a'.ljust(10**9) }}", NUMBERS),
    "indented": ("{{ 'a'|indent(10**9, true) }}", NUMBERS),
    "formatted": ("{{ '%999999999d' % 1 }}", ""),
    "class": ("{{ ''.__class__.__mro__ }}", "unsafe"),
    "globals": ("{{ raise_exception.__globals__ }}", ""),
    "import": ("{% import 'x' as x %}", "no loader"),
    "include": ("{% include '/etc/passwd' %}", "no loader"),
    "extends": ("{% extends 'x' %}", "no loader"),
    "syntax": ("{% for %}", "refuses"),
    "open": ("{{ 'a", "refuses"),
    "unknown-tag": ("{% nope %}", "nope"),
    "unknown-filter": ("{{ 1|nope }}", "nope"),
    "undefined": ("{{ nope.nope }}", "nope"),
    "division": ("{{ 1 / 0 }}", "division by zero"),
    "refusal": ("{{ raise_exception('say please') }}", "say please"),
    "long-refusal": ("{{ raise_exception('no' * 99999) }}", "refuses"),
    "drops-the-text": ("", ""),
    "deep": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", ""),
    "deep-list": ("{% set a = " + "[" * 300 + "]" * 300 + " %}{{ a }}", "recursion"),
    "surrogate": ("{{ '\\ud800' }}", "no character"),
}  # fmt: skip
PASSES = {"drops-the-text", "globals"}
"""What is odd, and allowed."""


def render() -> list[int]:
    """What a user says, in the template of the checkpoint."""
    made = Preprocessor(Path("model"))
    return made.encode([made.turn(Message("user", (Part("text", "Hi"),)))])


def template(content: str) -> inputs.Spoil:
    """A checkpoint with this template."""
    return inputs.at("model/chat_template.jinja", inputs.checkpoint, text(content))


FILES = {
    "not-utf-8": (data(b"\xff"), "not UTF-8"),
    "folder": (instead(Path.mkdir), "a folder"),
    "pipe": (instead(inputs.pipe), "not a regular file"),
    "loop": (instead(inputs.loop), "symbolic links"),
    "forbidden": (instead(inputs.forbidden), "Permission denied"),
    "none": (Path.unlink, "no chat template"),
}


@table([Row(name, render, template(content), 2, ("chat template", said, "mend the template"))
        for name, (content, said) in TEMPLATES.items() if name not in PASSES])  # fmt: skip
def test_templates(row, refused):
    begun = time.monotonic()
    refused(row)
    assert time.monotonic() - begun < 15


@table([Row(name, render, inputs.at("model/chat_template.jinja", inputs.checkpoint, spoil), 2, (said,),
            unprivileged=name == "forbidden") for name, (spoil, said) in FILES.items()])  # fmt: skip
def test_files(row, refused):
    refused(row)


@pytest.mark.parametrize("name", sorted(PASSES))
def test_what_is_odd_is_allowed(name, refused):
    template(TEMPLATES[name][0])(refused.here)
    assert render()
