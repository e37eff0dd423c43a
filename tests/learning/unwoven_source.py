"""Functions that no tap can stand in."""

from __future__ import annotations


def halves(x):
    """One by one."""
    yield x[:1]
    yield x[1:]


doubled = lambda x: x * 2  # noqa: E731 - a function without a name of its own
