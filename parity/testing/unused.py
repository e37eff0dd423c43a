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
            golden_set = asked.golden_set
        except ParityError:
            continue  # the test itself will say what is wrong with it
        folder = str(golden_set.folder)
        there = found.setdefault(folder, {"needed": [], "there": list(Store(golden_set.folder).names())})
        there["needed"] += asked.names or [entry.name for entry in golden_set.entries]
    return found
