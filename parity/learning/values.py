"""The values of one side in one phase of a run, those that are bit-equal together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.learning.layout import distance
from parity.learning.places import family
from parity.traces.trace import Trace

FEWEST = 12
"""Numbers that a value must have to be known by them: a few numbers are alike by chance."""
MOST = 2**21
"""Numbers of a value that is looked at: logits of a drawn checkpoint have 20,000, and a table of weights is no step."""
MASKED = -1e29
"""What is below it, is a mask's: the least number of float16 is above, and no activation comes near."""
ROUNDOFF = 2.0**-24
"""Of float32, in which both sides run while they are paired."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Computation:
    """A computation of one side, and its copies.

    Attributes:
        places: where it is, in the order in which they are reached; the first computes it.
        array: its numbers.
        ordered: the same in ascending order, which no layout changes.
    """

    places: tuple[str, ...]
    array: Array
    ordered: Array

    @property
    def place(self) -> str:
        """Where it is computed."""
        return self.places[0]

    @cached_property
    def norm(self) -> float:
        """L2 of the numbers."""
        return float(np.linalg.norm(self.ordered))


class Values(ABC):
    """Places of one side, and the numbers there.

    Attributes:
        most: numbers of a value that is looked at.
    """

    most = MOST

    @abstractmethod
    def __iter__(self) -> Iterator[str]:
        """The places, in the order of the run."""

    @abstractmethod
    def __contains__(self, place: str) -> bool:
        """Whether it is one."""

    @abstractmethod
    def shape(self, place: str) -> tuple[int, ...]:
        """Of the numbers at a place."""

    @abstractmethod
    def array(self, place: str) -> Array:
        """The numbers at a place."""

    @cached_property
    def values(self) -> tuple[Computation, ...]:
        """Those that a computation can be known by, in the order of the run."""
        found: dict[bytes, tuple[list[str], Array, Array]] = {}
        for place in self:
            if FEWEST <= np.prod(self.shape(place)) <= self.most and _tells(array := self.array(place)):
                ordered = np.sort(array.ravel())
                found.setdefault(ordered.tobytes(), ([], array, ordered))[0].append(place)
        return tuple(Computation(tuple(places), array, ordered) for places, array, ordered in found.values())


class PhaseValues(Values):
    """One phase of one side's run: every place that was reached, and the numbers there.

    Args:
        trace: of the run.
        phase: one of its chunks.
        without: names of records that are no places.
        most: numbers of a value that is looked at.
    """

    def __init__(self, trace: Trace, phase: str, without: Collection[str] = (), most: int = MOST) -> None:
        self._trace, self.most = trace, most
        keys = (key for key in trace.records if key.phase == phase and key.occurrence == 0)
        self._keys = {key.step: key for key in keys if key.step not in without}

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __contains__(self, place: str) -> bool:
        return place in self._keys

    def array(self, place: str) -> Array:
        """The numbers at a place."""
        found = self._trace.tensor(self._keys[place])
        assert found is not None  # runs that learn keep their tensors
        return found.astype(np.float64)

    def shape(self, place: str) -> tuple[int, ...]:
        """Of the numbers at a place."""
        return tuple(self._trace.records[self._keys[place]].shape)

    def digest(self, place: str) -> str:
        """Of the numbers at a place, their shape left out."""
        return self._trace.records[self._keys[place]].digest


def _tells(array: Array) -> bool:
    """Whether a tensor has numbers that are its own: no mask, no constant, nothing that is not finite."""
    if not np.isfinite(array).all() or (array <= MASKED).any():
        return False
    return np.unique(array.ravel()[:4096]).size >= max(4, min(8, array.size // 4))


class HeldValues(Values):
    """Those of a run that no trace was written of.

    Args:
        arrays: the numbers by their places, in the order of the run.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __contains__(self, place: str) -> bool:
        return place in self._arrays

    def array(self, place: str) -> Array:
        """The numbers at a place."""
        return self._arrays[place].astype(np.float64)

    def shape(self, place: str) -> tuple[int, ...]:
        """Of the numbers at a place."""
        return self._arrays[place].shape


def floors(*, oracle: PhaseValues, baseline: PhaseValues) -> Callable[[str], float]:
    """What correct arithmetic errs at a place of the reference: the largest error of its family."""
    found: dict[str, float] = {}
    for value in oracle.values:
        if value.place in baseline and (array := baseline.array(value.place)).shape == value.array.shape:
            error = distance(oracle=value.array, candidate=array)
            found[family(value.place)] = max(found.get(family(value.place), 0.0), error)
    return lambda place: max(found.get(family(place), 0.0), 2 * ROUNDOFF)


def steady(one: PhaseValues, other: PhaseValues) -> set[str]:
    """Places that have the same numbers for two inputs: they come of weights alone."""
    return {place for place in one if place in other and one.digest(place) == other.digest(place)}
