"""Which value of one side is which of the other: both hold the same numbers, in another order.

One layer is searched. In the others what was found is only verified, so that the time grows with the values, not with
their pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from parity.errors import UsageError
from parity.learning.layout import Rearrangement, distance, find_layout
from parity.learning.places import in_layer, in_layers, layer_of
from parity.learning.sizes import name_of
from parity.learning.values import Array, Computation, Values

CONTENT = "content"
"""How a pair is known whose values are the same numbers, in every phase."""
ALLOWED = 16.0
"""Floors within which two values are one: right ports were up to 3 off, another value 1e4 and more."""

Floor = Callable[[str], float]


@dataclass(frozen=True)
class Pair:
    """A place of the reference and one of the port that compute the same.

    Attributes:
        reference: the place.
        candidate: the port's; one of several, where it does not run the same code in each run.
        layout: how the port's tensor becomes the reference's.
        error: of the port, in floors.
        confidence: how it is known.
    """

    reference: str
    candidate: tuple[str, ...]
    layout: Rearrangement
    error: float
    confidence: str = CONTENT


class Pairing:
    """Pairs the values of one phase.

    Args:
        oracle: the reference's, in true float64.
        candidate: the port's, in float32.
        floor: what correct arithmetic errs at a place of the reference.
        sizes: of axes, by name.
        ignored: places of the port that come of weights alone, or have a pair.
        known: pairs that may hold in other layers too.
    """

    def __init__(
        self,
        *,
        oracle: Values,
        candidate: Values,
        floor: Floor,
        sizes: Mapping[str, int],
        ignored: Collection[str] = (),
        known: Collection[Pair] = (),
    ) -> None:
        self._oracle, self._candidate, self._floor, self._sizes = oracle, candidate, floor, sizes
        self.name = name_of(sizes)
        self._by_size: dict[int, list[Computation]] = defaultdict(list)
        for value in candidate.values:
            if value.place not in ignored:
                self._by_size[value.array.size].append(value)
        self._firsts = {place: value.place for value in candidate.values for place in value.places}
        self._known = {in_layers(pair.reference): pair for pair in known}

    def pairs(self, ignored: Collection[str] = ()) -> list[Pair]:
        """In the order of the reference, each place of the port once.

        Args:
            ignored: places of the reference that come of weights alone, or have a pair.
        """
        found = [self._pair(value) for value in self._oracle.values if value.place not in ignored]
        nearest: dict[str, Pair] = {}
        for pair in filter(None, found):
            best = nearest.setdefault(pair.candidate[0], pair)
            nearest[pair.candidate[0]] = min(best, pair, key=lambda one: one.error)
        return [pair for pair in found if pair and nearest[pair.candidate[0]] is pair]

    def _pair(self, value: Computation) -> Pair | None:
        template = in_layers(value.place)
        if template in self._known and (pair := self._verified(self._known[template], value)):
            return pair
        if pair := self._searched(value):
            self._known.setdefault(template, pair)
        return pair

    def _verified(self, known: Pair, value: Computation) -> Pair | None:
        """What another layer's pair says of this one, where that holds."""
        place = in_layer(in_layers(known.candidate[0]), layer_of(value.place))
        place = self._firsts.get(place, place)
        if place not in self._candidate:
            return None
        error = self._error(value.array, self._candidate.array(place), known.layout) / self._floor(value.place)
        found = replace(known, reference=value.place, candidate=(place,), error=error)
        return found if error <= ALLOWED else None

    def _searched(self, value: Computation) -> Pair | None:
        return min(self._partners(value), key=lambda pair: pair.error, default=None)

    def _partners(self, value: Computation) -> Iterator[Pair]:
        """Every value that has the same numbers, in any layout."""
        within = ALLOWED * self._floor(value.place)
        for other in self._by_size[value.array.size]:
            if abs(value.norm - other.norm) > within * value.norm:
                continue  # no order of the numbers makes up for that, and it spares the distance of most
            if distance(oracle=value.ordered, candidate=other.ordered) > within:
                continue
            if (layout := self._layout(value, other, within)) is not None:
                error = self._error(value.array, other.array, layout) / self._floor(value.place)
                yield Pair(value.place, (other.place,), layout, error)

    def _layout(self, value: Computation, other: Computation, within: float) -> Rearrangement | None:
        """In which these are the same numbers: as in another layer, or any.

        Noise of 16 bits exchanges numbers that are near each other, and a layout that is told by the nearest number is
        not found in every layer.
        """
        known = self._known.get(in_layers(value.place))
        if known is not None and self._error(value.array, other.array, known.layout) <= within:
            return known.layout
        return find_layout(oracle=value.array, candidate=other.array, within=within, name=self.name)

    def _error(self, oracle: Array, candidate: Array, layout: Rearrangement) -> float:
        try:
            shown = layout.bound(candidate.shape, self._sizes).out(candidate)
        except UsageError:
            return float("inf")
        return distance(oracle=oracle, candidate=shown) if shown.shape == oracle.shape else float("inf")

    def again(self, pair: Pair) -> Pair | None:
        """A pair of another phase, with the place that the port has here; None where it does not hold.

        Where the port runs none of the places that are known, it has taken another way, which is searched.
        """
        if pair.reference not in self._oracle:
            return None
        array, floor = self._oracle.array(pair.reference), self._floor(pair.reference)
        places = [place for place in pair.candidate if place in self._candidate]
        others = [] if places or pair.confidence != CONTENT else [value.place for value in self._by_size[array.size]]
        errors = {place: self._error(array, self._candidate.array(place), pair.layout) for place in (*places, *others)}
        best = min(errors, key=lambda place: errors[place], default="")
        is_there = bool(best) and errors[best] < float("inf")  # of that size
        if not is_there or (pair.confidence == CONTENT and errors[best] > ALLOWED * floor):
            return None
        return replace(pair, candidate=tuple(dict.fromkeys((*pair.candidate, best))))
