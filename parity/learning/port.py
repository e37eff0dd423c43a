"""A port in any framework, by a learned table: who has one says how it is loaded and how it is called."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from parity import array_tensors
from parity.array_tensors import ArrayTensors
from parity.backend import Backend, Tensors
from parity.checkpoint import config_of
from parity.discovery import TABLE
from parity.errors import BackendUnavailable, UsageError, installed
from parity.learnable import Learnable
from parity.learning.everywhere import weave_everywhere
from parity.learning.listening import Listener
from parity.learning.sizes import of_call, sizes_of
from parity.learning.taps import ANY, MEANING, Taps, digests, modules_of
from parity.media import Prompt
from parity.site import Edit, Heard
from parity.tap import SILENT, Tap
from parity.weave import weave


class Port(Backend, Learnable):
    """A language model of a package that nobody here knows, with a tap behind every value of its source.

    A user's class of it has a name, `dtypes`, `packages`, and methods `versions`, `read`, `start` and `call`.

    Attributes:
        packages: what the names of modules begin with that compute the model; these are woven.
        outside: names of modules among them that are not, such as caches.
        edits: changes of the source that are in force while it is loaded and while it runs.
        tensors: how arrays become NumPy's and back, where the framework does not follow the array API standard.
        model: what `read` gave.
    """

    options: ClassVar[Mapping[str, str]] = {TABLE: MEANING}
    packages: ClassVar[tuple[str, ...]]
    outside: ClassVar[tuple[str, ...]] = ()
    edits: Sequence[Edit] = ()
    tensors: Tensors = ArrayTensors()

    def __init__(self, model: Any, checkpoint: Path, table: str = ANY) -> None:
        self.model = model
        parts = self.parts(model)
        self._paths = {id(part): path for path, part in parts.items()}
        classes = dict.fromkeys(base for part in parts.values() for base in type(part).__mro__)
        self.modules = modules_of([*classes], self.packages, self.outside)
        self._sizes = sizes_of(config_of(checkpoint))
        self._taps = Taps(table, "candidate", self.modules)
        self.start(padding=(0,), cache=True)

    @classmethod
    @abstractmethod
    def read(cls, checkpoint: Path, dtype: str) -> Any:
        """The model, loaded; its framework is imported here and not before."""

    @abstractmethod
    def call(self, token_ids: NDArray[np.int64]) -> Any:
        """Run the next ``[batch, token]`` ids; returns logits ``[batch, token, vocabulary]`` of the framework."""

    def eagerly(self) -> AbstractContextManager[None]:
        """In force while taps are in: what is compiled must run as the Python that it was made of."""
        return nullcontext()

    def is_array(self, value: object) -> bool:
        """Whether a value is an array of real numbers that can be read."""
        return array_tensors.is_array(value)

    def shown(self, value: Any) -> Any:
        """A handle of its own, where arrays change in place."""
        return value

    @classmethod
    def parts(cls, model: Any) -> Mapping[str, object]:
        """The modules of the model, in the sense of its framework, by their paths."""
        return parts_of(model, cls.packages)

    @classmethod
    def mends(cls, checkpoint: Path, options: Mapping[str, str]) -> Sequence[Edit]:
        """Further edits, which options ask for.

        Raises:
            UsageError: for an option's value that cannot be.
        """
        return ()

    @classmethod
    def cure(cls) -> str:
        """The command that installs what is missing."""
        return f"pip install {cls.name}"

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, **options: str) -> Self:
        """Load a checkpoint as `read` does.

        Raises:
            BackendUnavailable: when a package is missing, or none of its source computes the model.
            UsageError: for a dtype or a table that cannot be.
        """
        if dtype not in cls.dtypes:
            raise UsageError(f"backend {cls.name} runs in {', '.join(cls.dtypes)}; not in {dtype}")
        edits = (*cls.edits, *cls.mends(checkpoint, options))
        with installed(f"{cls.name} is not installed: {cls.cure()}"), weave((), _as_it_is, edits):
            model = cls.read(checkpoint, dtype)
        found = cls(model, checkpoint, options.get(TABLE, ANY))
        found.edits = edits
        if not found.modules:
            packages = ", ".join(cls.packages)
            raise BackendUnavailable(f"{cls.name}: {type(model)} and what it holds have no class of {packages}")
        return found

    def sources(self) -> Mapping[str, str]:
        """A digest of each file that is woven."""
        return digests(self.modules)

    def tap_by(self, table: Path) -> None:
        """Tap by a draft."""
        self._taps = Taps(str(table), "candidate", self.modules, draft=True)

    def forward(
        self, token_ids: NDArray[np.int64], *, prompts: Sequence[Prompt] = (), tap: Tap = SILENT
    ) -> NDArray[Any]:
        """Run the next chunk of ``[batch, token]`` ids; returns logits ``[batch, token, vocabulary]``."""
        with self._listening(tap, token_ids.shape):
            logits = self.call(token_ids)
        return self.tensors.to_numpy(logits, None)

    @contextmanager
    def _listening(self, tap: Tap, shape: tuple[int, int]) -> Iterator[None]:
        if tap is SILENT and not self.edits:
            yield
            return
        hear = self._taps.hear(tap, of_call(*shape) | self._sizes)

        def heard(place: str, value: Any) -> Any:
            answer = hear(place, shown := self.shown(value))
            return value if answer is shown else answer

        listener = Listener(self._paths, self.is_array, heard)
        with self.eagerly(), weave_everywhere(self.modules, listener, self.edits) as missing:
            self.unwoven = tuple(map(str, missing))
            yield


def _as_it_is(heard: Heard) -> Any:
    return heard.value


def parts_of(model: object, packages: tuple[str, ...]) -> Mapping[str, object]:
    """The objects that a model holds and that packages have classes for, by their paths: ``blocks.0.attention``.

    Each has the shortest path of attributes and indices; of such a public one, and one that leads through no list.
    """
    found: dict[str, object] = {}
    seen, left = {id(model)}, deque([("", model)])
    while left:
        path, one = left.popleft()
        found[path] = one
        for name, held in sorted(_held(one), key=_plainness):
            if id(held) not in seen and any(base.__module__.startswith(packages) for base in type(held).__mro__):
                seen.add(id(held))
                left.append((f"{path}.{name}".lstrip("."), held))
    return found


def _held(one: object) -> Iterator[tuple[str, object]]:
    """What an object's attributes hold, and the items of those that are lists or dictionaries."""
    for name, value in getattr(one, "__dict__", {}).items():
        if isinstance(value, list | tuple):
            yield from ((f"{name}.{number}", item) for number, item in enumerate(value))
        elif isinstance(value, dict):
            yield from ((f"{name}.{key}", item) for key, item in value.items())
        else:
            yield name, value


def _plainness(item: tuple[str, object]) -> tuple[bool, bool]:
    """A list that a framework keeps of all parts says less of one than the attribute that the model's author named."""
    return "." in item[0], item[0].startswith("_")
