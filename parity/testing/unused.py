"""Which goldens the collected tests need, of those that are there."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from parity.errors import ParityError
from parity.golden.store import Store
from parity.testing.request import Asked


def survey(items: Iterable[pytest.Item]) -> dict[str, dict[str, list[str]]]:
    """Of each folder of goldens that tests name: the names that they need, and those that are there."""
    found: dict[str, dict[str, list[str]]] = {}
    for item in items:
        try:
            asked = Asked.of(item)
            if not asked.golden:
                continue
            catalogue = asked.catalogue
        except ParityError:
            continue  # the test itself will say what is wrong with it
        folder = str(catalogue.folder)
        there = found.setdefault(folder, {"needed": [], "there": list(Store(catalogue.folder).names())})
        there["needed"] += asked.names or [entry.name for entry in catalogue.entries]
    return found
