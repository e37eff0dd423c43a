"""Arithmetics: what numbers a runtime computes with. A candidate's dtype names one, and the baseline runs in it too.

A name is ``<number format>[-<qualifier>]``. A bare format (``bfloat16``) is the framework's own arithmetic of that
dtype; a qualified one (``float16-ane``) is how some device computes with it, and is found through its entry point.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from parity.entries import make, targets

ARITHMETICS = "parity.arithmetics"


class Arithmetic(ABC):
    """How a framework is made to compute in some number format.

    Attributes:
        weights: name of the number format that weights are rounded to when they are loaded.
        storage: the framework's name of the dtype whose tensors carry the values.
    """

    weights: str
    storage: str

    def loading(self) -> AbstractContextManager[None]:
        """Loads a model: constants that are made on the way, such as angular frequencies, come out as they must."""
        return nullcontext()

    def meet(self, parameters: Iterable[tuple[str, Any]]) -> None:  # noqa: B027 - most know no names
        """Hear a loaded model's parameters and their names, for a format may depend on whose numbers it holds."""

    @abstractmethod
    def running(self) -> AbstractContextManager[None]:
        """Inside it, the framework computes in this arithmetic."""

    @abstractmethod
    def suspended(self) -> AbstractContextManager[None]:
        """Inside `running`: what is computed here is the host's work, and no operation of the device's."""

    def by_chance(self, seed: int) -> AbstractContextManager[None] | None:
        """Inside it and `running`, results are rounded up or down by chance, right on average (Parker, 1997).

        None where the arithmetic cannot do that.
        """
        return None

    @abstractmethod
    def rounded(self, tensor: Any) -> Any:
        """A tensor (any shape) as this arithmetic holds it, in `storage`; integers and booleans stay what they are."""


class Switched(Arithmetic):
    """One that changes the framework's operations while it is on.

    Attributes:
        active: whether it is.
    """

    active = False

    @contextmanager
    def being(self, active: bool) -> Iterator[None]:
        """On, or off, and what it was before behind it."""
        before, self.active = self.active, active
        try:
            yield
        finally:
            self.active = before

    def suspended(self) -> AbstractContextManager[None]:
        """The host computes as the framework does."""
        return self.being(False)


class Plain(Arithmetic):
    """The framework's own arithmetic of one of its dtypes."""

    def __init__(self, dtype: str) -> None:
        self.weights = self.storage = dtype

    def running(self) -> AbstractContextManager[None]:
        """Nothing to change."""
        return nullcontext()

    def suspended(self) -> AbstractContextManager[None]:
        """The host computes as the device does."""
        return nullcontext()

    def rounded(self, tensor: Any) -> Any:
        """The tensor as it is: the framework rounded it."""
        return tensor


def available() -> tuple[str, ...]:
    """Names of the installed qualified arithmetics; asking imports none of them."""
    return tuple(targets(ARITHMETICS))


def find(name: str) -> Arithmetic:
    """The installed arithmetic of that name; its entry point is a function that makes it.

    Raises:
        UsageError: for an unknown name, or a target that makes no arithmetic.
    """
    return make(name, ARITHMETICS, "arithmetic", Arithmetic)  # type: ignore[type-abstract]  # nothing is made of it here
