"""What a backend for any model offers besides: places in its source that a learned table can name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.backend import Backend
from parity.errors import UsageError
from parity.fault import Fault


class Learnable(ABC):
    """The part of a backend that learning asks for; it stands beside `parity.backend.Backend`."""

    unwoven: Sequence[str] = ()
    """Functions of its source that no tap could stand in when it ran last, each with the reason."""

    @abstractmethod
    def sources(self) -> Mapping[str, str]:
        """A digest of each source file that places are in, by the name of its module."""

    def tap_by(self, table: Path) -> None:
        """From now on, tap every place, and beside it the steps of a table, which may be replaced.

        Raises:
            UsageError: for one that is never a candidate.
        """
        raise UsageError(f"{type(self).__name__} is no candidate that a table could be learned of")

    @classmethod
    def architectures(cls) -> Sequence[str]:
        """The types of model of language that the package has.

        Raises:
            UsageError: where that is not known.
        """
        raise UsageError(f"{cls.__name__} does not say which types of model it has")

    @classmethod
    def survey_scenarios(cls, config: Mapping[str, Any]) -> Sequence[str]:
        """The scenarios that show most of an architecture with that ``config.json``.

        Raises:
            UsageError: for a side that has no scenarios.
        """
        raise UsageError(f"{cls.__name__} has no scenarios to survey an architecture in")

    @classmethod
    def known(cls, model: str) -> Sequence[Fault]:
        """What is known to be wrong in the port of a type of model; the option ``patch=all`` mends it."""
        return ()

    @classmethod
    def reduce(cls, model: str, folder: Path) -> None:
        """Write a small random checkpoint of a model's architecture, of which a table can be learned in seconds.

        Args:
            model: the folder of a checkpoint, whose layers it has in smaller sizes; or a type of model.
            folder: a new one.

        Raises:
            UsageError: where none can be made.
        """
        raise UsageError(f"{cls.__name__} draws no checkpoints")


def require_learnable(found: object) -> Learnable:
    """A loaded backend as one that tables are learned of.

    Raises:
        UsageError: for another.
    """
    if not isinstance(found, Learnable):
        raise UsageError(f"backend {getattr(found, 'name', found)} has no places that a table could name")
    return found


def for_any_model(found: type[Backend]) -> type[Learnable]:
    """A backend's class as one that tables are learned of.

    Raises:
        UsageError: for another.
    """
    if not issubclass(found, Learnable):
        raise UsageError(f"backend {found.name} is for no other model than its own")
    return found
