"""docs/examples/keras_*.py: what somebody writes who has a port is short, and needs its framework only to load it."""

from __future__ import annotations

import importlib
import sys

import pytest

from parity.learning.port import Port
from tests.pages import ROOT

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("keras_*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_is_short_and_can_be_asked_without_its_framework(example, monkeypatch):
    """Sixty lines; it is whole, and says what it runs in before anything is imported."""
    assert len(example.read_text().splitlines()) <= 60
    monkeypatch.syspath_prepend(example.parent)
    before = set(sys.modules)
    found = importlib.import_module(example.stem).Backend
    assert not {"keras", "keras_hub", "jax"} & (sys.modules.keys() - before)
    assert issubclass(found, Port)
    assert not found.__abstractmethods__
    assert found.environment() == {"KERAS_BACKEND": "jax"}
