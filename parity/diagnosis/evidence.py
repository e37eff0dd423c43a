"""What a cause must explain: the error of a step, or of several alike, from exact inputs; how much of it is noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.axes import USUAL, Axes, Layout
from parity.dtypes import as_float64
from parity.judging.verdict import StepVerdict
from parity.traces.measure import Float, beyond_a_level, validity
from parity.traces.trace import Key, Trace

MOST_VALUES = 1_000_000
"""Values that are looked at; further phases are left out, for each possible cause is held as an effect on all."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One tensor of the candidate's lockstep run, beside the oracle's.

    Attributes:
        key: of both.
        axes: of both.
        oracle: the true values; zero where `counted` is False.
        candidate: what the candidate made of exact inputs; zero where `counted` is False.
        counted: elements of real tokens that are finite on both sides.
        noise: the squared norm of what correct arithmetic errs here, one floor.
        loud: whether the step errs here. Where it does not, a cause must not show either.
        mask: whether it is a mask: true or false, as ones and zeros.
        roles: what the contract says of axes.
        quantum: distance of the levels that the step's values are rounded to; 0 where they are not.
    """

    key: Key
    axes: tuple[str, ...]
    oracle: Float
    candidate: Float
    counted: NDArray[np.bool_]
    noise: float
    loud: bool = True
    mask: bool = False
    roles: Axes = USUAL
    quantum: float = 0.0

    @property
    def layout(self) -> Layout:
        """What its axes are."""
        return self.roles.layout(self.axes, self.oracle.shape)

    @property
    def error(self) -> Float:
        """The candidate's error, element by element."""
        return self.candidate - self.oracle

    def effect(self, value: NDArray[Any]) -> Float:
        """How far another tensor of that step is from the oracle's, where that counts."""
        change = np.where(self.counted, as_float64(value), 0.0) - self.oracle
        return np.where(np.isfinite(change), change, 0.0)

    @property
    def size(self) -> int:
        """How many values count."""
        return int(np.count_nonzero(self.counted))


@dataclass(frozen=True, eq=False)
class Evidence:
    """Errors that one cause should explain: of a step in several phases, or of several layers. Loud ones come first."""

    pieces: tuple[Piece, ...]

    @cached_property
    def error(self) -> Float:
        """All errors in one row."""
        return flat(piece.error for piece in self.pieces)

    @cached_property
    def energy(self) -> float:
        """The error's squared norm."""
        return float(np.vdot(self.error, self.error))

    def unexplained(self, rest: Float) -> float:
        """The share of the error's energy that a rest of it has, without what a level more or less explains."""
        quantum = self.pieces[0].quantum  # all are of one step, or of a family
        rest = beyond_a_level(rest, quantum) if quantum else rest
        return float(np.vdot(rest, rest)) / self.energy

    @cached_property
    def noise(self) -> float:
        """The share of the error's energy that correct arithmetic would have, at most 1."""
        return min(1.0, sum(piece.noise for piece in self.pieces) / self.energy)

    @cached_property
    def loud(self) -> Evidence:
        """What errs."""
        return Evidence(tuple(piece for piece in self.pieces if piece.loud))

    def padded(self, effect: Float) -> Float:
        """An effect on what errs, that is none on what does not."""
        return np.pad(effect, (0, self.error.size - effect.size))

    @property
    def size(self) -> int:
        """How many values count."""
        return sum(piece.size for piece in self.pieces)


def flat(arrays: Iterable[Float]) -> Float:
    """Arrays of any shapes in one row."""
    return np.concatenate([array.ravel() for array in arrays])


def collect(steps: Sequence[StepVerdict], *, oracle: Trace, lockstep: Trace) -> Evidence | None:
    """The evidence of some steps; None where no error can be seen."""
    pieces: list[Piece] = []
    for step in sorted(steps, key=lambda step: not step.status.origin):
        if pieces and sum(piece.oracle.size for piece in pieces) >= MOST_VALUES:
            break
        if piece := piece_of(step, oracle, lockstep):
            pieces.append(piece)
    evidence = Evidence(tuple(pieces))
    return evidence if pieces and evidence.energy > 0.0 else None


def missing_in(oracle: Trace, lockstep: Trace) -> frozenset[str]:
    """The steps that a lockstep run lacks, or has in another shape: it went on there with its own values."""
    return frozenset(
        key.step
        for key, record in oracle.records.items()
        if key not in lockstep.records or tuple(lockstep.records[key].shape) != tuple(record.shape)
    )


def piece_of(step: StepVerdict, oracle: Trace, lockstep: Trace) -> Piece | None:
    """A step of a lockstep run beside the oracle's; None where either lacks it, or its shape is another."""
    key = step.key
    if key not in oracle.records or key not in lockstep.records:
        return None
    true, value = oracle.tensor(key), lockstep.tensor(key)
    if true is None or value is None or true.shape != value.shape:
        return None
    axes = tuple(oracle.records[key].axes)
    exact, made = as_float64(true), as_float64(value)
    counted = np.isfinite(exact) & np.isfinite(made)
    roles = oracle.contract.axes
    if (valid := validity(roles.layout(axes, exact.shape), oracle.scenario, key.phase)) is not None:
        counted = counted & valid
    exact, made = np.where(counted, exact, 0.0), np.where(counted, made, 0.0)
    known = oracle.contract.get(step.step)
    quantum = known.quantum if known else 0.0
    is_mask, own = true.dtype == np.bool_, step.status.origin
    return Piece(
        key=key,
        axes=axes,
        oracle=exact,
        candidate=made,
        counted=counted,
        noise=_noise(step, exact, made),
        loud=own,
        mask=is_mask,
        roles=roles,
        quantum=quantum,
    )


def _noise(step: StepVerdict, exact: Float, made: Float) -> float:
    """The floor's energy: of the error, the share that the judge's two numbers say.

    Arithmetic errs relative to what it makes, so a candidate that is larger than the oracle has that much more noise.
    """
    own, squared = step.lockstep, float(np.vdot(made - exact, made - exact))
    if own is None or not math.isfinite(own.error) or own.error == 0.0:
        return 0.0
    power = float(np.vdot(exact, exact))
    grown = max(1.0, float(np.vdot(made, made)) / power) if power > 0.0 else 1.0
    return squared * (own.floor / own.error) ** 2 * grown
