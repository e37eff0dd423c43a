"""Generic causes of a rotary embedding: other positions, another base, the other way round, other pairs of channels.

A rotation is recognised by what it makes: pairs of an earlier step's channels, read as complex numbers, are multiplied
by ``exp(i p w)``, the same for all heads, at position p with angular velocity w of the pair (Su et al. 2021,
arXiv:2104.09864).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from parity.diagnosis.earlier import Earlier
from parity.diagnosis.evidence import Evidence, Piece
from parity.diagnosis.hypothesis import Hypothesis
from parity.diagnosis.numerals import factor, said
from parity.diagnosis.softmax import instead
from parity.traces.measure import Float

Turns = NDArray[np.complex128]

SOURCES = 4
"""Of the steps of the same shape so many are tried as what is rotated."""
IS_ROTATION = 1e-7
"""A step of the oracle is a rotation of another where so little of it is left."""
FARTHEST = 64
"""Positions are tried up to so many places off."""
STEADY = 0.9
"""Neighbouring tokens are one position apart where their turns agree that far: padded rows begin anew."""
POWERS = 1e-3
"""Angular velocities are the powers of a base where their logarithms lie on a line to this."""


def halves(x: Float) -> Turns:
    """Channel i with channel i + n / 2, as in GPT-NeoX and transformers."""
    first, second = np.split(x, 2, axis=-1)
    return np.asarray(first + 1j * second)


def neighbours(x: Float) -> Turns:
    """Channel 2 i with channel 2 i + 1, as in the paper and GPT-J."""
    return np.asarray(x[..., 0::2] + 1j * x[..., 1::2])


def _from_halves(z: Turns) -> Float:
    return np.concatenate([z.real, z.imag], axis=-1)


def _from_neighbours(z: Turns) -> Float:
    return np.stack([z.real, z.imag], axis=-1).reshape(*z.shape[:-1], -1)


@dataclass(frozen=True)
class Pairs:
    """Which channels are turned together.

    Attributes:
        says: in words.
        pairs: channels as complex numbers, half as many.
        channels: these as channels again.
    """

    says: str
    pairs: Callable[[Float], Turns]
    channels: Callable[[Turns], Float]


PAIRS = (
    Pairs("the halves of a head", halves, _from_halves),
    Pairs("neighbouring channels", neighbours, _from_neighbours),
)


@dataclass(frozen=True, eq=False)
class Rotation:
    """What a step is of another, in each phase ``[row, token, the rest, channel]``.

    Attributes:
        pairing: which channels are turned together.
        width: so many channels are turned, the first ones.
        sources: what is turned.
        turns: by what, ``[row, token, width / 2]``, of size 1.
    """

    pairing: Pairs
    width: int
    sources: tuple[Float, ...]
    turns: tuple[Turns, ...]

    def made(self, turns: Sequence[Turns]) -> list[Float]:
        """What other turns would make of the sources."""
        return [self._turned(source, each) for source, each in zip(self.sources, turns, strict=True)]

    def _turned(self, source: Float, turns: Turns) -> Float:
        turned = self.pairing.channels(self.pairing.pairs(source[..., : self.width]) * turns[:, :, None])
        return np.concatenate([turned, source[..., self.width :]], axis=-1)


def rotations(evidence: Evidence, earlier: Earlier) -> Iterator[Hypothesis]:
    """What a step that is a rotation would be with another one."""
    if (rotation := _recognised(evidence, earlier)) is None:
        return

    def hypothesis(name: str, says: str, made: Sequence[Float], freedom: int = 0) -> Hypothesis:
        pairs = zip(evidence.pieces, made, strict=True)
        return instead(evidence, name, says, [_back(piece, x) for piece, x in pairs], freedom)

    turned_back = [np.conj(turns) for turns in rotation.turns]
    yield hypothesis("rotation-reversed", "it is rotated the other way round", rotation.made(turned_back))
    twice = [np.square(turns) for turns in rotation.turns]
    yield hypothesis("rotation-twice", "it is rotated twice", rotation.made(twice))
    for other in PAIRS:
        if other is not rotation.pairing:
            says = f"{other.says} are rotated together, where {rotation.pairing.says} should be"
            yield hypothesis("rotation-pairs", says, replace(rotation, pairing=other).made(rotation.turns))
    for name, says, turns, freedom in _elsewhere(evidence, rotation):
        yield hypothesis(name, says, rotation.made(turns), freedom)


def _elsewhere(evidence: Evidence, rotation: Rotation) -> Iterator[tuple[str, str, list[Turns], int]]:
    """The turns of other positions, and of other angular velocities."""
    shown = [_turns(rotation, _canonical(piece, piece.candidate), at) for at, piece in enumerate(evidence.pieces)]
    velocity = _velocity(evidence, rotation.turns)
    if velocity is None or any(turns is None for turns in shown):
        return
    made = [turns for turns in shown if turns is not None]
    apart = sum((turns * np.conj(true)).sum((0, 1)) for turns, true in zip(made, rotation.turns, strict=True))
    off = max(range(-FARTHEST, FARTHEST + 1), key=lambda n: float((apart * np.exp(-1j * n * velocity)).sum().real))
    if off:
        says = f"it is rotated by positions that are {abs(off)} too {'high' if off > 0 else 'low'}"
        yield "positions", says, [true * np.exp(1j * off * velocity) for true in rotation.turns], 1
    if (other := _velocity(evidence, made)) is not None:
        for name, says, wrong, freedom in _velocities(velocity, other):
            positions = [np.angle(true[..., -1:]) / velocity[-1] for true in rotation.turns]
            pairs = zip(rotation.turns, positions, strict=True)
            yield name, says, [true * np.exp(1j * at * (wrong - velocity)) for true, at in pairs], freedom


def _velocities(true: Float, made: Float) -> Iterator[tuple[str, str, Float, int]]:
    """How other angular velocities may be meant; the fast ones are the best known."""
    times = float((true * made).sum() / np.square(true).sum())
    yield "rotation-scaled", f"its positions are multiplied by {factor(times)}", true * times, 1
    known, used = (float(f"{_base(velocity, true):.3g}") for velocity in (true, made))
    if known > 1 and used > 1:
        powers = true ** (math.log(used) / math.log(known))
        yield "rotation-base", f"its base is {said(used)} instead of {said(known)}", powers, 1
    span = np.abs(made / true)
    says = (
        f"its angular velocities are {said(float(span.min()))} to {said(float(span.max()))} times what they should be"
    )
    yield "rotation-velocities", says, made, len(true)


def _base(velocity: Float, weight: Float) -> float:
    """The b of velocities ``b^(-i / n)``; 0 where they are no powers."""
    if len(velocity) < 3 or (velocity <= 0).any():
        return 0.0
    index = np.arange(len(velocity)) / len(velocity)
    slope, start = np.polyfit(index, np.log(velocity), 1, w=weight)
    apart = np.abs(index * slope + start - np.log(velocity)) * weight / weight.max()
    return math.exp(-slope) if apart.max() < POWERS and abs(start) < POWERS else 0.0


def _recognised(evidence: Evidence, earlier: Earlier) -> Rotation | None:
    """The rotation that the oracle's step is of an earlier one."""
    if any(len(piece.layout.sequence) != 1 or piece.oracle.ndim < 3 for piece in evidence.pieces):
        return None
    true = [_canonical(piece, piece.oracle) for piece in evidence.pieces]
    for value in earlier.same[:SOURCES]:
        given = [_canonical(piece, x) for piece, x in zip(evidence.pieces, value.tensors, strict=True)]
        if not (width := _turned_channels(true, given)):
            continue
        for pairing in PAIRS:
            rotation = Rotation(pairing, width, tuple(given), turns=())
            turns = [_turns(rotation, x, at) for at, x in enumerate(true)]
            if found := tuple(each for each in turns if each is not None):
                whole = replace(rotation, turns=found)
                if len(found) == len(true) and _is_it(evidence, whole, true):
                    return whole
    return None


def _turned_channels(true: Sequence[Float], given: Sequence[Float]) -> int:
    """How many of the first channels differ, all but those that are passed on; 0 where that is no number of pairs."""
    differ = np.any([(x != y).any((0, 1, 2)) for x, y in zip(true, given, strict=True)], axis=0)
    width = int(np.flatnonzero(differ).max(initial=-1)) + 1
    return width if width > 2 and width % 2 == 0 else 0


def _turns(rotation: Rotation, made: Float, at: int) -> Turns | None:
    """By what the source of a phase is turned, over all heads; None where nothing says it."""
    source, turned = (rotation.pairing.pairs(x[..., : rotation.width]) for x in (rotation.sources[at], made))
    turns = (turned * np.conj(source)).sum(2)
    size = np.abs(turns)
    return np.divide(turns, size, out=np.ones_like(turns), where=size > 0) if (size > 0).any() else None


def _is_it(evidence: Evidence, rotation: Rotation, true: Sequence[Float]) -> bool:
    counts = [_canonical(piece, piece.counted) for piece in evidence.pieces]
    pairs = list(zip(rotation.made(rotation.turns), true, counts, strict=True))
    left = sum(float(np.square(np.where(counted, x - y, 0.0)).sum()) for x, y, counted in pairs)
    return left <= IS_ROTATION**2 * sum(float(np.square(x).sum()) for x in true)


def _velocity(evidence: Evidence, turns: Sequence[Turns]) -> Float | None:
    """By how much each pair turns from one token to the next; None where no phase has two that are one apart."""
    steps = []
    for piece, each in zip(evidence.pieces, turns, strict=True):
        live = np.asarray(_canonical(piece, piece.counted).any((2, 3)))
        both = live[:, 1:] & live[:, :-1]
        steps.append((each[:, 1:] * np.conj(each[:, :-1]))[both])
    each_step = np.concatenate(steps)
    total = each_step.sum(0)
    if not len(each_step) or (np.abs(total) < STEADY * len(each_step)).any():
        return None
    velocity: Float = np.angle(total)
    return velocity if (velocity != 0).all() else None


def _canonical(piece: Piece, x: NDArray) -> NDArray:  # type: ignore[type-arg]
    """A tensor as ``[row, token, the rest, channel]``; the channel is the last axis."""
    front = _front(piece)
    moved = np.moveaxis(x, front, range(len(front)))
    return moved.reshape(*(moved.shape[: len(front)] if len(front) > 1 else (1, len(moved))), -1, x.shape[-1])


def _back(piece: Piece, x: Float) -> Float:
    """A tensor of that order as the step has it."""
    front = _front(piece)
    rest = [size for axis, size in enumerate(piece.oracle.shape) if axis not in front]
    return np.moveaxis(x.reshape(*(piece.oracle.shape[axis] for axis in front), *rest), range(len(front)), front)


def _front(piece: Piece) -> list[int]:
    rows, (token,) = piece.layout.rows, piece.layout.sequence
    return [token] if rows is None else [rows, token]
