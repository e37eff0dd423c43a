"""Functions that tests/test_weave.py weaves taps into."""

from __future__ import annotations

import functools


def doubled(function):
    """Decorator: weaving must keep it."""

    @functools.wraps(function)
    def wrapper(*arguments, **named):
        return 2 * function(*arguments, **named)

    return wrapper


class Base:
    """Gives `Scale.forward` something to call through `super`."""

    def forward(self, x):
        """Hand back `x`."""
        return x


class Scale(Base):
    """One of each kind of site."""

    factor = 10

    @doubled
    def forward(self, x, flag=False):
        """Return 2 * (10 * x + 3) (and more where `flag`)."""
        y = super().forward(x)
        y = y * self.factor
        y += 3
        if flag:
            y, z = y + 100, 0
            return y + z
        return y


def outer(x):
    """A loop, a call and a nested scope."""
    total = 0
    for i in range(3):
        part = helper(x, i)
        total += part

    def inner():
        total = -1
        return total

    return total + 0 * inner()


def helper(x, i):
    """Return x + i."""
    return x + i
