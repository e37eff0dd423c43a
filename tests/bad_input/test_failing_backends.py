"""Backends that cannot be, as their own process says: what is imported there is no part of this process."""

from __future__ import annotations

import pytest

from tests.bad_input.table import Row, Runner, table

SPEAK = "generate --prompt Hi --backend"
BACKENDS = {
    "nope.nope:B": "cannot be imported",
    "json:JSONDecoder": "not a subclass",
    "json:nope": "cannot be imported",
    "json:dumps": "not a subclass",
    "mlx@x=1": "no option 'x'",
    "mlx --dtype float64": "no dtype 'float64'",
    "mlx --dtype ²": "no dtype '²'",
    "mlx-lm@patch=nope": "has no patch 'nope'",
    "ane@alpha=x": "alpha=x is not a number",
    "ane@alpha=nan": "not positive and finite",
    "ane@batch=-1": "batch=-1 is not positive",
    f"ane@context={'9' * 5000}": "is not a whole number",
    "transformers@variant=nope": "unknown variant",
    "transformers@at=3": "of no variant",
}
"""What is written behind ``--backend``, and what the line says."""
CRASHES = {"tests.bad_input.mistyped:B": "NameError: name 'Bakcend' is not defined"}
"""What ends or throws while it is imported: exit 3."""


@pytest.fixture
def asked(tmp_path, parity, capfd, monkeypatch):
    """Runs a row that may start a process."""
    monkeypatch.setenv("NO_COLOR", "1")
    return Runner(tmp_path, parity, capfd, monkeypatch)


def rows() -> list[Row]:
    """Both kinds."""
    ways = [(line, said, 2) for line, said in BACKENDS.items()] + [(line, said, 3) for line, said in CRASHES.items()]
    return [Row(line[:40], f"{SPEAK} {line}", lambda folder: None, code, (said,)) for line, said, code in ways]


@table(rows())
def test_backends(row, asked):
    asked(row)
