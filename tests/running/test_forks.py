"""Which workers are forked of a process that has imported their backend: those whose class says so itself."""

from __future__ import annotations

import sys

import pytest

from parity.discovery import BACKENDS
from parity.running import started
from parity.running.started import Start
from tests.toy import Toy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are safe on Linux alone")


class Forking(Toy):
    """Says that importing it computes nothing."""

    forks = True


class Heir(Forking):
    """A user's own class below such a one: what its module does on import, nobody said."""


@pytest.mark.parametrize(
    ("name", "forked"),
    [(f"{__name__}:Forking", True), (f"{__name__}:Heir", False), ("tests.nowhere:Forking", False)],
)
def test_a_class_that_is_not_installed_says_it_itself(name, forked):
    """And only where its module is imported here already."""
    assert started._is_forked(Start(name, BACKENDS, {}, [])) is forked
    assert "tests.nowhere" not in sys.modules
