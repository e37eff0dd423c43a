"""Which of a test's parameters `make test` runs, and which `make exhaustive` alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def quick(values: Iterable[Any], *chosen: Any) -> list[Any]:
    """Parameters of which those chosen run with `make test`; the others are slow, for they say the same of more."""
    return [value if value in chosen else pytest.param(value, marks=pytest.mark.slow) for value in values]


def every_change(values: Iterable[Any], *chosen: Any) -> list[Any]:
    """Parameters of which those chosen run for every change; the others show the same, in `make exhaustive`."""
    return [value if value in chosen else pytest.param(value, marks=pytest.mark.exhaustive) for value in values]
