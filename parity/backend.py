"""What a backend must offer, and how backends are found."""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from parity.contract import Contract, Step
from parity.errors import BackendUnavailable, UsageError
from parity.scenario import Scenario
from parity.tap import SILENT, Tap

BACKENDS = "parity.backends"
REFERENCES = "parity.references"


class Tensors(ABC):
    """How a framework's tensors become NumPy arrays in the contract's axes, and back.

    Attributes:
        lazy: True where a value is computed only when asked for; such values are collected and read once a chunk.
    """

    lazy: ClassVar[bool] = False

    @abstractmethod
    def to_numpy(self, value: Any, step: Step | None) -> NDArray[Any]:
        """`value` in the axes of `step`, in its own dtype (bfloat16 through ``ml_dtypes``); may share memory."""

    def fits(self, value: Any, shape: tuple[int, ...], step: Step | None) -> bool:
        """Whether an array of `shape`, in the contract's axes, can take the place of `value`."""
        return tuple(value.shape) == shape

    @abstractmethod
    def from_numpy(self, array: NDArray[Any], like: Any, step: Step | None) -> Any:
        """A new tensor with the values of `array` in the dtype, device and layout of `like`; never shares memory."""


class Backend(ABC):
    """One runtime's implementation of the model.

    A backend is loaded in a worker process of its own. Its module must be importable without its framework, which
    is imported by `load`.

    Attributes:
        name: what users call it.
        dtypes: names of the arithmetics that it can run in.
        tensors: translation between its tensors and NumPy's.
    """

    name: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]]
    tensors: Tensors

    @classmethod
    def environment(cls) -> Mapping[str, str]:
        """Environment variables that the worker process is started with."""
        return {}

    @classmethod
    def doctor(cls) -> Iterator[tuple[bool, str, str]]:
        """Health checks: (good, what was looked at, what was found and the cure)."""
        yield from ()

    @classmethod
    @abstractmethod
    def versions(cls) -> Mapping[str, str]:
        """Versions of the libraries whose arithmetic this backend runs on."""

    @classmethod
    @abstractmethod
    def load(cls, checkpoint: Path, dtype: str) -> Self:
        """Load a checkpoint directory.

        Raises:
            BackendUnavailable: when the framework is not installed or cannot take the checkpoint.
        """

    @abstractmethod
    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """Begin a conversation for ``len(padding)`` rows, each left-padded by so many tokens; forget the last one."""

    @abstractmethod
    def forward(self, token_ids: NDArray[np.int64], *, tap: Tap = SILENT) -> NDArray[Any]:
        """Run the next chunk.

        Args:
            token_ids: ``[batch, token]``.
            tap: where steps are emitted.

        Returns:
            Logits ``[batch, token, vocabulary]`` in the backend's dtype.
        """

    def generate(self, prompt: str, *, max_tokens: int) -> Iterator[str]:
        """Pieces of text as they are decoded greedily.

        Raises:
            BackendUnavailable: where the backend has no generation loop.
        """
        raise BackendUnavailable(f"backend {self.name} cannot generate text")


class Reference(Backend):
    """The backend that is true: it also knows the contract and the scenarios.

    Attributes:
        scenarios: name and one-line meaning of each scenario.
    """

    scenarios: ClassVar[Mapping[str, str]]

    @abstractmethod
    def contract(self) -> Contract:
        """The steps of the loaded checkpoint's model."""

    @abstractmethod
    def scenario(self, name: str, prompt: str | None) -> Scenario:
        """Scenario `name` for a prompt (None: the lightest debugging case).

        Raises:
            UsageError: for an unknown name, an empty prompt, or one longer than the context.
        """


def available(group: str = BACKENDS) -> dict[str, str]:
    """Names and targets of the installed backends."""
    return {entry.name: entry.value for entry in entry_points(group=group)}


def find(spec: str, group: str = BACKENDS) -> type[Backend]:
    """The backend class called `spec`: an installed name, or ``module:Class`` for one that is not installed.

    Raises:
        UsageError: for an unknown name or a target that is not a backend.
    """
    target = available(group).get(spec, spec)
    if ":" not in target:
        known = ", ".join(sorted(available(group))) or "none"
        raise UsageError(f"unknown backend {spec!r}; installed: {known}; or give module:Class")
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"backend {spec!r} cannot be imported from {target}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise UsageError(f"backend {spec!r}: {target} is not a subclass of parity.backend.Backend")
    return found


def worker_environment(backend: type[Backend]) -> dict[str, str]:
    """The whole environment of a worker of `backend`: this process's, with the backend's on top."""
    return {**os.environ, **backend.environment()}
