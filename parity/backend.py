"""What a backend must offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from parity.contract import Contract, Step
from parity.errors import BackendUnavailable, UsageError
from parity.fault import Subject
from parity.generation import Finish, Message, Sampling
from parity.media import Part, Prompt
from parity.scenario import Drawn, Scenario
from parity.tap import SILENT, Hear, Tap, silence

Place = tuple[slice, ...]
"""Part of a tensor, a slice for each axis."""


class Tensors(ABC):
    """How a framework's tensors become NumPy arrays in the contract's axes, and back.

    Attributes:
        lazy: True where a value is computed only when asked for; such values are collected, and read
            when they take much memory (by their ``nbytes``) or the chunk ends.
    """

    lazy: ClassVar[bool] = False

    @abstractmethod
    def to_numpy(self, value: Any, step: Step | None) -> NDArray[Any]:
        """`value` in the axes of `step`, in its own dtype (bfloat16 through ``ml_dtypes``); may share memory."""

    def fits(self, value: Any, shape: tuple[int, ...], step: Step | None) -> bool:
        """Whether an array of `shape`, in the contract's axes, can take the place of `value`."""
        return tuple(value.shape) == shape

    def place(self, step: Step | None, shape: tuple[int, ...]) -> Place | None:
        """Which part of the chunk's tensor, of `shape` in the contract's axes, the value emitted now is.

        None: all of it. A backend of fixed shapes runs a long chunk in several calls, and each emits its part; of a
        step that has no tokens, each the whole.
        """
        return None

    def whole(self, step: Step | None, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the chunk's tensor that the value emitted now is a part of.

        It is `shape`, which the oracle has, but for a chunk that has another number of tokens than the oracle's.
        """
        return shape

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
        options: what a user may set when it is loaded, name and one-line meaning; see `parity.discovery.Choice`.
        hidden: steps that it computes where no tap can stand, or not at all: their names, with ``*`` for any text, and
            the reason. Such a step is counted as not observable, never as compared. One that depends on what is loaded
            is told by the instance.
        forks: whether its workers are forked from a process that has imported it, as a reference's are: to import it
            starts no thread.
        tensors: translation between its tensors and NumPy's.
    """

    name: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]]
    options: ClassVar[Mapping[str, str]] = {}
    hidden: Mapping[str, str] = MappingProxyType({})
    forks: ClassVar[bool] = False
    tensors: Tensors

    @classmethod
    def environment(cls) -> Mapping[str, str]:
        """Environment variables that the worker process is started with."""
        return {}

    @classmethod
    def environments(cls) -> Mapping[str, Mapping[str, str]]:
        """How else it may compute on this machine and be as right: names, and variables that choose the code."""
        return {}

    @classmethod  # noqa: B027 - most backends are started alone
    def preload(cls) -> None:
        """Import what `load` needs, and compute nothing: in a process of which a reference's workers are forked."""

    @classmethod
    def doctor(cls) -> Iterator[tuple[bool, str, str]]:
        """Health checks: (good, what was looked at, what was found and the cure)."""
        yield from ()

    @classmethod
    def subject(cls) -> Subject:
        """What an audit of the package behind this backend measures; its module is imported, not its framework.

        Raises:
            BackendUnavailable: when the package is not installed.
            UsageError: where there is no package to audit.
        """
        raise UsageError(f"backend {cls.name} declares nothing to audit")

    @classmethod  # noqa: B027 - most backends have nothing to look at
    def check(cls, options: Mapping[str, str]) -> None:
        """Look at the values of options as far as no checkpoint is needed, before anything is started.

        Raises:
            UsageError: for a value that cannot be.
        """

    @classmethod
    def has_weights(cls, options: Mapping[str, str]) -> bool:
        """Whether it computes with other weights than the checkpoint's, as a quantised model does.

        The reference is then given those that `write_weights` writes, so that what is judged is what the backend does
        with its weights; what they cost is measured apart.
        """
        return False

    @classmethod  # noqa: B027 - most backends have the checkpoint's
    def write_weights(cls, checkpoint: Path, file: Path, options: Mapping[str, str]) -> None:
        """Write the weights that it computes with, where it `has_weights`.

        Args:
            checkpoint: a checkpoint directory.
            file: for `parity.weights.overlay.write_overlay`.
            options: as of `load`.

        Raises:
            BackendUnavailable: when the framework is not installed.
            UsageError: for a checkpoint that it cannot take.
        """

    @classmethod
    @abstractmethod
    def versions(cls) -> Mapping[str, str]:
        """Versions of the libraries whose arithmetic this backend runs on."""

    @classmethod
    @abstractmethod
    def load(cls, checkpoint: Path, dtype: str, **options: str) -> Self:
        """Load a checkpoint directory; `options` are of the names that the class declares, their values as typed.

        Raises:
            BackendUnavailable: when the framework is not installed or cannot take the checkpoint.
            UsageError: for an option's value that cannot be.
        """

    @abstractmethod
    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """Begin anew with ``len(padding)`` rows, each left-padded by so many tokens; forget what was read before."""

    @abstractmethod
    def forward(
        self, token_ids: NDArray[np.int64], *, prompts: Sequence[Prompt] = (), tap: Tap = SILENT
    ) -> NDArray[Any]:
        """Run the next chunk.

        Args:
            token_ids: ``[batch, token]``.
            prompts: per row, what the chunk is made from; the backend makes its own ids, pixels and features of it,
                emits them, and goes on with what the tap returns.
            tap: where steps are emitted.

        Returns:
            Logits ``[batch, token, vocabulary]`` in the backend's dtype.
        """

    def forward_last(
        self, token_ids: NDArray[np.int64], *, prompts: Sequence[Prompt] = (), tap: Tap = SILENT
    ) -> NDArray[Any]:
        """Run the next chunk of a conversation, as `forward`, for the logits of its last token alone.

        Here they are those of every token, of which the last is compared. Not asked of a backend that `generate`s.

        Returns:
            Logits ``[batch, token or 1, vocabulary]``.
        """
        return self.forward(token_ids, prompts=prompts, tap=tap)

    @property
    def generates(self) -> bool:
        """Whether it has a generation loop; a conversation is then run by that, and not by `forward`."""
        return type(self).generate is not Backend.generate

    def generate(
        self, messages: Sequence[Message], sampling: Sampling, *, hear: Hear = silence
    ) -> Generator[str, None, Finish | None]:
        """What the model says to a conversation, in pieces as they are decoded.

        Called again with a longer conversation, a backend may read only what is new.

        Args:
            messages: the turns so far; the last is the user's.
            sampling: how each token is chosen.
            hear: called before each forward pass; gives the tap that its steps are emitted to. What it raises ends the
                reply, and comes through: so a reply is stopped that nobody waits for any more.

        Returns:
            How it ended, where the backend counts that.

        Raises:
            BackendUnavailable: where the backend has no generation loop.
            UsageError: for messages or files that the model cannot take.
        """
        raise BackendUnavailable(f"backend {self.name} cannot generate text")


class Reference(Backend):
    """The backend that is true: it also knows the contract and the scenarios.

    Attributes:
        model_types: what a checkpoint's ``config.json`` calls the models that it is true for; with these, nobody need
            name it.
        scenarios: name and one-line meaning of each scenario.
        with_media: names of those that a prompt with pictures or sounds can run in.
        executions: names of the further executions of the loaded arithmetic that are as right as the usual one, and
            how many times larger than its errors theirs are. What all of them err is the floor.
        plain: whether it has the execution that adds one term after the other (`parity.traces.measured.PLAIN`).
    """

    model_types: ClassVar[tuple[str, ...]] = ()
    scenarios: ClassVar[Mapping[str, str]]
    with_media: ClassVar[tuple[str, ...]] = ()
    executions: Mapping[str, float] = MappingProxyType({})
    plain: bool = False

    @classmethod
    def admit(cls, checkpoint: Path, prompt: str | None, media: Sequence[Part] = ()) -> None:
        """Look at what is asked for, as far as a checkpoint's configuration tells, before anything is started.

        Raises:
            UsageError: for what the model cannot run: another architecture, a prompt or a file that is too long.
        """

    @abstractmethod
    def contract(self) -> Contract:
        """The steps of the loaded checkpoint's model."""

    @abstractmethod
    def scenario(self, name: str, prompt: str | None, media: Sequence[Part] = ()) -> Scenario:
        """Scenario `name` for a prompt (None: the lightest debugging case), behind pictures and sounds.

        Raises:
            UsageError: for an unknown name, an empty prompt, or one longer than the context.
        """

    def vary(self, variants: Sequence[tuple[str, str]]) -> None:
        """From now on, have these known bugs, by name and place (empty: the variant's own); none: be true again.

        Raises:
            UsageError: for an unknown variant, or a place that it cannot be in.
        """
        if variants:
            raise UsageError(f"reference {self.name} has no variants")

    def focus(self, steps: Collection[str]) -> None:
        """From now on, only these steps are looked at and all others replaced; with no steps, all are looked at again.

        A reference may then leave out whole parts of the model.
        """

    def execute_as(self, name: str) -> None:
        """From now on, run as this execution; empty: as usual.

        Raises:
            UsageError: for an unknown execution.
        """
        if name:
            raise UsageError(f"reference {self.name} has no execution {name!r}")

    @classmethod
    def draw(cls, draw: Random, folder: Path) -> Drawn:
        """An input for a calibration, of any kind that its users may give; its files go into a folder.

        Raises:
            UsageError: where the reference draws none.
        """
        raise UsageError(f"reference {cls.name} draws no inputs to calibrate with")
