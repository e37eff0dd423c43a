"""Which tensor of a dump is which step of an oracle: the same numbers, in any layout, whatever both are called.

A dump is a free run that cannot be run again. Behind its first fault nothing is the oracle's any more, so a step whose
tensor is not found by its numbers is looked for by the name that this step's tensor has in other layers, and where no
layer is right, among the tensors that are nobody's, by likeness.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from parity.dumps.files import MOST, Dumped
from parity.errors import UsageError
from parity.judging.judge import ALLOWED
from parity.learning.guessing import guesses
from parity.learning.layout import Rearrangement, distance
from parity.learning.pairing import Pair, Pairing
from parity.learning.places import in_layers, layer_of
from parity.learning.sizes import name_of, of_call
from parity.learning.values import ROUNDOFF, Array, Computation, PhaseValues, Values, floors
from parity.scenario import Chunk
from parity.traces.trace import Trace

AS_ELSEWHERE, LIKENESS = "as in another layer", "by likeness"
"""How a tensor is known that is not the oracle's: by its name, or by nothing but its numbers."""
LIKE = 0.5
"""Relative error up to which one tensor may be another that is wrong; unrelated ones of equal size are 1.4 apart."""
NEXT = 40
"""Steps that a fault is looked for in by likeness: those of two layers, behind the last that is right."""
UNMEASURED = 64 * ROUNDOFF
"""The floor where none was measured: 4 of it are 256 roundoffs of float32, and 232 are the most that 25 layers took."""
_NUMBERS = re.compile(r"(\d{1,6})")


@dataclass(frozen=True)
class Match:
    """A step, and the tensor of the dump that it is.

    Attributes:
        phase: of the step.
        step: its name.
        tensor: its name in the dump.
        layout: how the tensor becomes the step's.
        error: relative, L2.
        floors: how many floors that is.
        known: by its content, as in another layer, or by likeness.
    """

    phase: str
    step: str
    tensor: str
    layout: str
    error: float
    floors: float
    known: str

    @property
    def is_equal(self) -> bool:
        """Whether it is within what correct arithmetic errs."""
        return self.floors <= ALLOWED


@dataclass(frozen=True)
class Matched:
    """What a dump says of an oracle's steps.

    Attributes:
        matches: in the order of execution.
        steps: how many the oracle has.
        nobodys: tensors that are no step.
        tensors: how many the dump has.
        is_measured: whether floors are a baseline's.
    """

    matches: tuple[Match, ...]
    steps: int
    nobodys: tuple[str, ...]
    tensors: int
    is_measured: bool

    @property
    def first(self) -> Match | None:
        """The first that differs."""
        return next((match for match in self.matches if not match.is_equal), None)

    @property
    def last_equal(self) -> Match | None:
        """The last that is equal before the first that differs, in the same phase."""
        equal: Match | None = None
        for match in self.matches:
            if not match.is_equal:
                return equal if equal and equal.phase == match.phase else None
            equal = match
        return equal


def match(oracle: Trace, dump: Sequence[Dumped], baseline: Trace | None) -> Matched:
    """Pair a dump with an oracle's trace.

    Args:
        oracle: with its tensors.
        dump: what another tool wrote.
        baseline: the reference's free run in the dump's arithmetic, with its tensors.

    Raises:
        UsageError: for a trace without tensors.
    """
    for trace in filter(None, (oracle, baseline)):
        if not trace.manifest.tensors:
            raise UsageError(f"trace {trace.path} has no tensors; write it again, without --no-tensors")
    matches: list[Match] = []
    taken: set[str] = set()
    for chunk in oracle.scenario.chunks:
        true = PhaseValues(oracle, chunk.phase, most=MOST)
        floor = floors(oracle=true, baseline=PhaseValues(baseline, chunk.phase, most=MOST)) if baseline else _unmeasured
        phase = _Phase(chunk.phase, true, _Tensors(dump, true, taken), floor, _sizes(oracle, chunk))
        matches += phase.matches()
        taken |= phase.taken()
    nobodys = tuple(tensor.name for tensor in dump if tensor.name not in taken)
    return Matched(tuple(matches), len(oracle.records), nobodys, len(dump), baseline is not None)


def _unmeasured(place: str) -> float:
    return UNMEASURED


def _sizes(oracle: Trace, chunk: Chunk) -> dict[str, int]:
    """Sizes of axes by name: what the oracle's steps have, and this chunk's own."""
    records = oracle.records.values()
    known = {axis: size for record in records for axis, size in zip(record.axes, record.shape, strict=True)}
    return known | of_call(oracle.scenario.batch, chunk.length)


class _Tensors(Values):
    """The tensors that may be a phase's steps: as many numbers as one of these, and no other phase's."""

    most = MOST

    def __init__(self, dump: Sequence[Dumped], true: PhaseValues, taken: Collection[str]) -> None:
        counts = {value.array.size for value in true.values}
        self._tensors = {one.name: one for one in dump if one.size in counts and one.name not in taken}

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __contains__(self, place: str) -> bool:
        return place in self._tensors

    def shape(self, place: str) -> tuple[int, ...]:
        """Of a tensor."""
        return self._tensors[place].shape

    def array(self, place: str) -> Array:
        """A tensor's numbers."""
        return self._tensors[place].read().astype("float64")


class _Phase:
    """Pairs one phase."""

    def __init__(
        self, name: str, true: PhaseValues, dump: _Tensors, floor: Callable[[str], float], sizes: Mapping[str, int]
    ) -> None:
        self._name, self._true, self._dump, self._floor, self._sizes = name, true, dump, floor, sizes
        self._order = {value.place: at for at, value in enumerate(true.values)}
        self._by_place = {value.place: value for value in true.values}
        self._copies = {place: value.places for value in dump.values for place in value.places}
        self._pairs: dict[str, Pair] = {}

    def matches(self) -> list[Match]:
        """In the order of execution; of bit-equal values of either side each place has its own."""
        paired = Pairing(oracle=self._true, candidate=self._dump, floor=self._floor, sizes=self._sizes).pairs()
        self._pairs = {pair.reference: pair for pair in paired}
        for find in (self._as_elsewhere, self._alike):
            self._pairs |= {pair.reference: pair for pair in find()}
        ordered = sorted(self._pairs.values(), key=lambda one: self._order[one.reference])
        return [found for pair in ordered for found in self._match(pair)]

    def taken(self) -> set[str]:
        """The tensors that are steps, and their copies."""
        return {copy for pair in self._pairs.values() for copy in self._copies_of(pair)}

    def _copies_of(self, pair: Pair) -> tuple[str, ...]:
        return self._copies.get(pair.candidate[0], pair.candidate)

    def _match(self, pair: Pair) -> Iterator[Match]:
        error, copies = pair.error * self._floor(pair.reference), self._copies_of(pair)
        for number, step in enumerate(self._by_place[pair.reference].places):
            tensor = copies[min(number, len(copies) - 1)]
            yield Match(self._name, step, tensor, str(pair.layout), error, pair.error, pair.confidence)

    def _left(self) -> list[Computation]:
        return [value for value in self._true.values if value.place not in self._pairs]

    def _nobodys(self) -> list[Computation]:
        taken = {pair.candidate[0] for pair in self._pairs.values()}
        return [value for value in self._dump.values if value.place not in taken]

    def _as_elsewhere(self) -> Iterator[Pair]:
        """Steps that have a tensor in another layer, and a tensor of such a name in their own."""
        known = {in_layers(pair.reference): pair for pair in self._pairs.values() if layer_of(pair.reference)}
        free = {*self._dump} - self.taken()  # what holds NaN is no value that could be known by its numbers
        for value in self._left():
            if pair := known.get(in_layers(value.place)):
                names = _in_layer(pair.candidate[0], layer_of(pair.reference), layer_of(value.place))
                arrays = {name: self._dump.array(name) for name in names if name in free}
                errors = {
                    name: self._error(value, array, pair.layout)
                    for name, array in arrays.items()
                    if array.size == value.array.size
                }
                yield from self._renamed(pair, value, errors)

    def _renamed(self, pair: Pair, value: Computation, errors: Mapping[str, float]) -> Iterator[Pair]:
        """A pair of another layer as that of this one, with the best of some tensors."""
        if name := min(errors, key=lambda one: errors[one], default=""):
            error = errors[name] / self._floor(value.place)
            yield replace(pair, reference=value.place, candidate=(name,), error=error, confidence=AS_ELSEWHERE)

    def _error(self, value: Computation, array: Array, layout: Rearrangement) -> float:
        try:
            shown = layout.bound(array.shape, self._sizes).out(array)
        except UsageError:
            return float("inf")
        return distance(oracle=value.array, candidate=shown) if shown.shape == value.array.shape else float("inf")

    def _alike(self) -> Iterator[Pair]:
        """Steps before any that differs, and with none equal in later layers, that a tensor of nobody's is most like.

        A tensor that is more like another step is made of that, and none of the oracle's.
        """
        last = max((self._order[place] for place, pair in self._pairs.items() if pair.error <= ALLOWED), default=-1)
        wrong = [self._order[place] for place, pair in self._pairs.items() if pair.error > ALLOWED]
        first, layer = (
            min(wrong, default=len(self._order)),
            layer_of(self._true.values[last].place) if last >= 0 else "",
        )
        behind = [value for value in self._left() if self._is_behind(value, last, layer)]
        behind = [value for value in behind if self._order[value.place] < first][:NEXT]
        name, nobodys = name_of(self._sizes), self._nobodys()
        for value in behind:
            found = [pair for other in nobodys if (pair := _likest(value, other, name))]
            best = min(found, key=lambda pair: pair.error, default=None)
            if best is not None and self._is_most_like(value, best):
                nobodys = [other for other in nobodys if other.place != best.candidate[0]]
                yield replace(best, error=best.error / self._floor(value.place))

    def _is_behind(self, value: Computation, last: int, layer: str) -> bool:
        return self._order[value.place] > last or (bool(layer) and layer_of(value.place) == layer)

    def _is_most_like(self, value: Computation, pair: Pair) -> bool:
        array = self._dump.array(pair.candidate[0])
        others = (other for other in self._true.values if other.array.shape == value.array.shape)
        return not any(self._error(other, array, pair.layout) < pair.error for other in others if other is not value)


def _likest(value: Computation, other: Computation, name: Callable[[int], str]) -> Pair | None:
    """Two values as a pair, in the layout in which they are most alike; its error is relative. None if they are not."""
    if value.array.size != other.array.size:
        return None
    found = min(guesses(value.array, other.array, name), key=lambda one: one[0], default=None)
    if found is None or found[0] > LIKE:
        return None
    return Pair(value.place, (other.place,), found[1], found[0], LIKENESS)


def _in_layer(name: str, layer: str, other: str) -> Iterator[str]:
    """What a tensor may be called in another layer: a number in its name that is the layer's, or the next, is changed.

    Which one is not known where a name has several, as that of the pass.
    """
    parts = _NUMBERS.split(name)
    for at in range(1, len(parts), 2):
        ahead = int(parts[at]) - int(layer)
        if ahead in (0, 1):
            number = str(int(other) + ahead).zfill(len(parts[at]) if parts[at][0] == "0" else 0)
            yield "".join([*parts[:at], number, *parts[at + 1 :]])
