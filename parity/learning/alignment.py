"""Pairs a whole run, past faults of the port: where content ends, the true value is put in, and what follows decides.

A port that is to be judged may be wrong, and behind its first fault no value is the reference's any more. So the first
value of the port that nobody's is taken for each of the likest values of the reference in turn: that value is put in
its place, and the port runs on from it. The right one makes dozens of later values the reference's; others none.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from parity.learning.guessing import guesses
from parity.learning.lessons import TrueValues
from parity.learning.pairing import CONTENT, Pair, Pairing
from parity.learning.places import in_layer, in_layers, layer_of
from parity.learning.values import Computation, PhaseValues

TRIED = 12
"""Values of the reference that one of the port is taken for: the right one was among the likest 12 in all trials."""
GAIN = 3
"""Values that must become right: wrong bridges gained 0 to 2, right ones 11 to 125."""
PENDING = 4
"""Bridges by likeness in a row, of which none is confirmed by what follows: beyond it there is no way on."""
RUNS = 120
"""Of the port until no more is bridged, some tenths of a second each; faults of five kinds took 60."""
STEPS = 200
"""Pairs found, bridges and values of the port's own, one after the other."""
LIKENESS = "by likeness"
UNLIKE = 0.9
"""Relative error from which on two values are not even alike."""

Hear = Callable[[Sequence[Pair]], PhaseValues]
"""Runs the port with the oracle's values at some pairs."""


class Alignment:
    """The pairs of one phase.

    Args:
        truth: what the reference has.
        hear: runs the port.
        sizes: of axes, by name.
        still: places of the reference, and of the port, that come of weights alone.
    """

    def __init__(
        self, truth: TrueValues, hear: Hear, sizes: Mapping[str, int], still: tuple[set[str], set[str]]
    ) -> None:
        self._truth, self._hear, self._sizes, self._still = truth, hear, sizes, still
        self._order = {value.place: at for at, value in enumerate(truth.oracle.values)}
        self._pairs: dict[str, Pair] = {}
        self._private: set[str] = set()
        self._pending: list[Pair] = []
        self._runs = 0

    def solved(self) -> list[Pair]:
        """All pairs, in the order of the reference."""
        port = self._grown()
        families = {in_layers(pair.reference): pair for pair in reversed([*self._pairs.values()])}
        bridges = [pair for pair in families.values() if pair.confidence != CONTENT]
        explained = [self._explain(bridge, port) for bridge in bridges]
        if any(explained):
            port = self._grown()
        settled = [self._settled(pair, port) for pair in self._pairs.values()]
        return sorted(settled, key=lambda pair: self._order[pair.reference])

    def _grown(self) -> PhaseValues:
        """Pair until nothing is left that leads on; what the port has then."""
        port = self._run([*self._pairs.values()])
        for _ in range(STEPS):
            if new := self._found(port):
                self._add(new)
            elif self._runs < RUNS and (front := self._front(port)):
                self._bridge(front, port)
            else:
                break
            port = self._run([*self._pairs.values()])
        return port

    def moving(self, port: PhaseValues) -> list[Computation]:
        """The port's values that depend on the input, without copies of what was put in."""
        put = {self._put(pair) for pair in self._pairs.values()}
        taken = {pair.candidate[0] for pair in self._pairs.values()}
        moving = (value for value in port.values if value.place not in self._still[1])
        return [value for value in moving if value.place in taken or value.ordered.tobytes() not in put]

    def _run(self, pairs: Sequence[Pair]) -> PhaseValues:
        self._runs += 1
        return self._hear(pairs)

    def _put(self, pair: Pair) -> bytes:
        """The numbers that the port went on with, as it holds them."""
        array = self._truth.oracle.array(pair.reference).astype(np.float32)
        return np.sort(array.astype(np.float64).ravel()).tobytes()

    def _pairing(self, port: PhaseValues) -> Pairing:
        taken = {pair.candidate[0] for pair in self._pairs.values()}
        return Pairing(
            oracle=self._truth.oracle,
            candidate=port,
            floor=self._truth.floor,
            sizes={**self._truth.sizes, **self._sizes},
            ignored=self._still[1] | taken,
            known=[*self._pairs.values()],
        )

    def _found(self, port: PhaseValues) -> list[Pair]:
        """Pairs by content that are new."""
        return self._pairing(port).pairs(self._still[0] | self._pairs.keys())

    def _add(self, pairs: Collection[Pair]) -> None:
        self._pairs |= {pair.reference: pair for pair in pairs}
        if any(pair.confidence == CONTENT for pair in pairs):
            self._pending.clear()

    def _front(self, port: PhaseValues) -> Computation | None:
        """The first value behind the last that has a pair; what lies between pairs is inside of the port."""
        taken = {pair.candidate[0] for pair in self._pairs.values()}
        values = self.moving(port)
        last = max((at for at, value in enumerate(values) if value.place in taken), default=-1)
        return next((value for value in values[last + 1 :] if value.place not in self._private), None)

    def _bridge(self, front: Computation, port: PhaseValues) -> None:
        """Take it for what makes most of the rest right; else for the likest; else it is inside of the port."""
        likest, shown = self._guesses(front, port), self._again_wrong(front, port)
        tried = [*likest, *shown]
        gains = [len(self._gained(pair)) for pair in tried]
        behind = len([value for value in self.moving(port) if value.place not in self._pairs])
        if tried and max(gains) >= min(GAIN, behind):
            confirmed = [*self._pending, tried[gains.index(max(gains))]]
            self._pending.clear()
            for pair in confirmed:
                self._add(self._everywhere(replace(pair, confidence=f"bridged ({max(gains)})"), port))
        elif likest and len(self._pending) < PENDING and likest[0].error < min([UNLIKE, *(one.error for one in shown)]):
            pair = replace(likest[0], confidence=LIKENESS)
            self._pending.append(pair)
            self._add([pair])
        else:
            self._private.add(front.place)

    def _guesses(self, front: Computation, port: PhaseValues) -> list[Pair]:
        """What it may be, the likest first: values of its size in its layer or the next."""
        inside = self._inside()
        left = [value for value in self._near(front) if value.place not in self._pairs and value.place not in inside]
        last = max((self._order[place] for place in self._pairs), default=-1)
        return sorted(self._taken_for(front, left, port), key=lambda pair: self._rank(pair, last))[:TRIED]

    def _again_wrong(self, front: Computation, port: PhaseValues) -> list[Pair]:
        """The likest value that the port has shown right before: it may have changed it since, as by rounding it.

        It is put right in the last copy that its function has: one of the first may be what rounds it.
        """
        known, frame = self._pairs, front.place.partition(": ")[0]
        last = [place for place in front.places if place.partition(": ")[0] == frame][-1]
        shown = [one for one in self._near(front) if one.place in known and known[one.place].confidence == CONTENT]
        likest = min(self._taken_for(front, shown, port), key=lambda pair: pair.error, default=None)
        return [] if likest is None or likest.error >= UNLIKE else [replace(likest, candidate=(last,))]

    def _near(self, front: Computation) -> Iterator[Computation]:
        """Values of the reference of a value's size in its layer or the next."""
        for value in self._truth.oracle.values:
            layers = layer_of(value.place), layer_of(front.place)
            is_near = not all(layers) or int(layers[0]) - int(layers[1]) in (0, 1)
            if value.array.size == front.array.size and is_near and value.place not in self._still[0]:
                yield value

    def _taken_for(self, front: Computation, values: Iterable[Computation], port: PhaseValues) -> Iterator[Pair]:
        """A value of the port taken for each of these, in every layout that the shapes allow."""
        name = self._pairing(port).name
        for value in values:
            for error, layout in guesses(value.array, front.array, name):
                yield Pair(value.place, (front.place,), layout, error, LIKENESS)

    def _inside(self) -> set[str]:
        """Values that the port does not show: of functions all of whose results it has right, here or in another layer.

        A norm that is fused makes the same of a value and of the value divided by its size, so that to put the one in
        the other's place makes all that follows right as well.
        """
        known = {place for place, pair in self._pairs.items() if pair.confidence == CONTENT}
        shown = {in_layers(place) for place in self._pairs}
        results: dict[str, set[str]] = defaultdict(set)
        for value in self._truth.oracle.values:
            for frame, _, name in (place.partition(": ") for place in value.places):
                if name.startswith("return"):
                    results[frame].add(value.place)
        closed = {in_layers(frame) for frame, places in results.items() if places <= known}
        values = (value.place for value in self._truth.oracle.values)
        return {
            place for place in values if in_layers(place.partition(": ")[0]) in closed and in_layers(place) not in shown
        }

    def _rank(self, pair: Pair, last: int) -> tuple[float, int]:
        return min(pair.error, UNLIKE), abs(self._order[pair.reference] - last)

    def _gained(self, pair: Pair) -> list[Pair]:
        """Values that become the reference's once this one is put right."""
        before = dict(self._pairs)
        self._pairs[pair.reference] = pair
        try:
            return self._found(self._run([*self._pairs.values()]))
        finally:
            self._pairs = before

    def _everywhere(self, pair: Pair, port: PhaseValues) -> list[Pair]:
        """The same pair in every layer in which neither side has another."""
        found = [pair]
        for value in self._truth.oracle.values:
            layer, place = layer_of(value.place), in_layers(value.place)
            if place != in_layers(pair.reference) or value.place in self._pairs or value.place == pair.reference:
                continue  # another family, or known already
            other = in_layer(in_layers(pair.candidate[0]), layer)
            taken = {known.candidate[0] for known in self._pairs.values()}
            if layer_of(pair.candidate[0]) == layer_of(pair.reference) and other in port and other not in taken:
                found.append(replace(pair, reference=value.place, candidate=(other,)))
        return found

    def _explain(self, bridge: Pair, port: PhaseValues) -> bool:
        """A bridge may be wrong only because an earlier value is, as a residual sum behind a norm that hid its scale.

        If a value before it that is nobody's is put right, and then its own is, that is the bridge, in all layers.
        """
        family = in_layers(bridge.reference)
        left = {
            place: pair
            for place, pair in self._pairs.items()
            if in_layers(place) != family or pair.confidence == CONTENT
        }
        for suspect in self._suspects(bridge, port):
            before, self._pairs = self._pairs, {**left, suspect.reference: suspect}
            found = self._pairing(self._run([*self._pairs.values()])).again(replace(bridge, confidence=CONTENT))
            if found is not None:
                self._add(self._everywhere(suspect, port))
                return True
            self._pairs = before
        return False

    def _suspects(self, bridge: Pair, port: PhaseValues) -> list[Pair]:
        """What values of the port before a bridge may be that are nobody's: of each the likest, if it is alike."""
        taken = {pair.candidate[0] for pair in self._pairs.values()}
        before = itertools.takewhile(lambda value: value.place != bridge.candidate[0], self.moving(port))
        near = (value for value in before if layer_of(value.place) in ("", layer_of(bridge.candidate[0])))
        guessed = [self._guesses(value, port)[:1] for value in near if value.place not in taken]
        found = [replace(pair, confidence=bridge.confidence) for pairs in guessed for pair in pairs]
        return [
            pair
            for pair in found
            if pair.error < UNLIKE and self._order[pair.reference] < self._order[bridge.reference]
        ]

    def _settled(self, pair: Pair, port: PhaseValues) -> Pair:
        """The pair as it is known in the end: a bridge whose value is right is none."""
        again = self._pairing(port).again(replace(pair, confidence=CONTENT))
        return pair if again is None else replace(pair, confidence=CONTENT)
