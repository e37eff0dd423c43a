"""The oracle's steps before the one that errs, as material for what the candidate may have computed instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from parity.diagnosis.evidence import Evidence, flat
from parity.dtypes import as_float64
from parity.traces.measure import Float
from parity.traces.scale import family
from parity.traces.trace import Key, Trace

BEFORE = 64
"""Of the steps before this one so many are looked at: a text layer has about as many."""
MOST_SLICES = 8
"""A step that holds several of this one's shape, as streams, is looked at slice by slice up to here."""


@dataclass(frozen=True, eq=False)
class Value:
    """One earlier step, or a slice of it, in each phase of the evidence.

    Attributes:
        name: the step's; ``step[2]`` for a slice.
        tensors: one for each piece of the evidence.
    """

    name: str
    tensors: tuple[Float, ...]

    def on(self, evidence: Evidence) -> Float:
        """Tensors of the evidence's shape in one row, zero where the evidence does not count."""
        pairs = zip(evidence.pieces, self.tensors, strict=True)
        return flat(np.where(piece.counted & np.isfinite(value), value, 0.0) for piece, value in pairs)


class Earlier:
    """What came before one step.

    Args:
        evidence: of one step, in some phases; of several steps nothing is said.
        oracle: the true values.
    """

    def __init__(self, evidence: Evidence, oracle: Trace) -> None:
        self._pieces, self._oracle = evidence.pieces, oracle
        names = {piece.key.step for piece in evidence.pieces}
        self.step = names.pop() if len(names) == 1 else ""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The steps before it, the nearest first, masks and integers too."""
        order = self._oracle.contract.order
        if self.step not in order:
            return ()
        steps, at = list(self._oracle.contract), order[self.step]
        return tuple(step.name for step in reversed(steps[max(0, at - BEFORE) : at]))

    @cached_property
    def same(self) -> tuple[Value, ...]:
        """Steps of the same shape, and slices of those that hold several of them; the nearest first."""
        return tuple(value for name in self.names for value in self._of_shape(name))

    @cached_property
    def kin(self) -> tuple[Value, ...]:
        """The same step of other layers, before and behind, where it has the same shape."""
        alike = self.like(self.step) if self.step else ()
        return tuple(value for name in alike for value in self._of_shape(name) if value.name == name)

    def like(self, name: str) -> tuple[str, ...]:
        """The other steps of a step's family: the same computation in other layers."""
        return tuple(
            step.name for step in self._oracle.contract if step.name != name and family(step.name) == family(name)
        )

    def masks(self, shape: Sequence[int]) -> list[str]:
        """All masks whose first axes have that shape, wherever they are made."""
        steps = [step.name for step in self._oracle.contract if step.kind == "mask"]
        return [name for name in steps if self.shape(name)[: len(shape)] == tuple(shape)]

    def tensors(self, name: str) -> tuple[Float, ...] | None:
        """A step in each phase of the evidence; None where it does not occur in all of them."""
        found = []
        for piece in self._pieces:
            key = Key(piece.key.phase, name)
            value = self._oracle.tensor(key) if key in self._oracle.records else None
            if value is None:
                return None
            found.append(as_float64(value))
        return tuple(found)

    def axes(self, name: str) -> tuple[str, ...]:
        """The axes of a step; none where it is not known."""
        step = self._oracle.contract.get(name)
        return step.axes if step else ()

    def kind(self, name: str) -> str:
        """Whether a step is of floats, of integers, or a mask."""
        step = self._oracle.contract.get(name)
        return step.kind if step else ""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a step in the evidence's first phase; empty where it does not occur."""
        record = self._oracle.records.get(Key(self._pieces[0].key.phase, name)) if self._pieces else None
        return tuple(record.shape) if record else ()

    def _of_shape(self, name: str) -> Iterator[Value]:
        own = self._pieces[0].oracle.shape
        shape = self.shape(name)
        if self.kind(name) != "float" or (shape != own and (shape[1:] != own or shape[0] > MOST_SLICES)):
            return
        tensors = self.tensors(name)
        if tensors is None:
            return
        if _fits([tensor.shape for tensor in tensors], self._pieces):
            yield Value(name, tensors)
        elif _fits([tensor.shape[1:] for tensor in tensors], self._pieces):
            for index in range(min(len(tensor) for tensor in tensors)):
                yield Value(f"{name}[{index}]", tuple(tensor[index] for tensor in tensors))


def _fits(shapes: Sequence[tuple[int, ...]], pieces: Sequence) -> bool:  # type: ignore[type-arg]
    return all(shape == piece.oracle.shape for shape, piece in zip(shapes, pieces, strict=True))
