"""Learns a table: pairs what both sides hold, with a tap behind every value."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from parity.checkpoint import Checkpoint, config_of
from parity.errors import UsageError
from parity.learning.alignment import Alignment
from parity.learning.layout import Rearrangement, distinct
from parity.learning.lessons import KnownTruth, Lessons, TrueValues, open_lessons
from parity.learning.pairing import Pair, Pairing
from parity.learning.places import LAYER, in_layers, layer_of, step_name
from parity.learning.sizes import name_of, sizes_of
from parity.learning.table import BY_HAND, LearnedTable, TableRow
from parity.learning.taps import LESSONS
from parity.learning.values import steady
from parity.running.progress import Progress

_Row = tuple[str, tuple[str, ...], str, str]
"""A place of the reference with its layer left open, the port's, the layout, and how they are known."""

NOT_SHOWN = "not shown"
"""The confidence of the reference's result, where the port has no such value."""


@dataclass(frozen=True)
class Learned:
    """A table, and what it was learned of.

    Attributes:
        table: the rows that hold in every phase.
        values: how many values of the first phase depend on the input: the reference's, and the port's.
        paired: how many of either have a row.
        dropped: pairs of the first phase that do not hold in another, and which.
        unwoven: functions that no tap could stand in, each with the reason.
    """

    table: LearnedTable
    values: tuple[int, int]
    paired: int
    dropped: tuple[tuple[Pair, str], ...]
    unwoven: tuple[str, ...] = ()


def learn(
    checkpoint: Checkpoint,
    *,
    reference: str,
    candidate: str,
    progress: Progress,
    before: LearnedTable | None = None,
    known: KnownTruth | None = None,
) -> Learned:
    """Learn a table of two backends for any model.

    Args:
        checkpoint: a small one, whose axes have sizes of their own: see `parity draw`.
        reference: the name of the side that is true.
        candidate: the port's.
        progress: told of the runs.
        before: a table whose rows by hand stay.
        known: what is true, where it is known of another port of the same checkpoint.

    Raises:
        UsageError: where the sides have nothing in common.
        BackendUnavailable: for a checkpoint that a side refuses.
    """
    sizes = sizes_of(config_of(checkpoint.path))
    opened = open_lessons(checkpoint, reference=reference, candidate=candidate, progress=progress, truth=known)
    with opened as lessons:
        first, second = (name for name, lesson in list(LESSONS.items())[:2])
        truths = lessons.truth.phases
        truth = truths[first][0]
        still = (
            steady(truth.oracle, truths[second][0].oracle),
            steady(lessons.candidate(first)[0], lessons.candidate(second)[0]),
        )
        alignment = Alignment(truth, lambda pairs: lessons.candidate(first, pairs)[0], sizes, still)
        pairs = alignment.solved()
        kept, dropped = _holding(pairs, lessons, sizes, still[1])
        own = [value.place for value in alignment.moving(lessons.candidate(first, pairs)[0])]
        unwoven = lessons.unwoven()
    if not own:
        raise UsageError(f"{candidate} shows no value that depends on its input: it must run eagerly, not compiled")
    if not kept:
        raise UsageError(f"checkpoint {checkpoint.name}: the sides have no value in common; is it the same model?")
    rows = _with_hands(rows_of([*kept, *_unshown(truth, sizes, kept)]), before)
    table = LearnedTable(checkpoint.model_type, *lessons.origins, rows)
    moving = sum(value.place not in still[0] for value in truth.oracle.values)
    return Learned(table, (moving, len(own)), len(kept), dropped, unwoven)


def _holding(
    pairs: Sequence[Pair], lessons: Lessons, sizes: Mapping[str, int], still: set[str]
) -> tuple[list[Pair], tuple[tuple[Pair, str], ...]]:
    """Pairs that hold in all phases, with every place that the port has; and the others, with the first where not."""
    dropped: list[tuple[Pair, str]] = []
    for name in LESSONS:
        ports = lessons.candidate(name, pairs)
        for truth, port in zip(lessons.truth.phases[name], ports, strict=True):
            pairing = Pairing(
                oracle=truth.oracle, candidate=port, floor=truth.floor, sizes={**truth.sizes, **sizes}, ignored=still
            )
            tried = [(pair, pairing.again(pair)) for pair in pairs]
            dropped += [(pair, f"{name}, {truth.name}") for pair, found in tried if found is None]
            pairs = [found for _, found in tried if found is not None]
    return list(pairs), tuple(dropped)


def _unshown(truth: TrueValues, sizes: Mapping[str, int], pairs: Sequence[Pair]) -> Iterator[Pair]:
    """The reference's result, where the port shows none that is like it: that is no parity, whatever came before."""
    result = truth.oracle.values[-1]
    if result.place not in {pair.reference for pair in pairs}:
        names = name_of({**truth.sizes, **sizes})
        axes = tuple((name,) for name in distinct(map(names, result.array.shape)))
        yield Pair(result.place, (), Rearrangement(axes, axes), float("inf"), NOT_SHOWN)


def rows_of(pairs: Sequence[Pair]) -> tuple[TableRow, ...]:
    """Pairs as rows, those of several layers together, in the order in which a layer has them."""
    found: dict[_Row, list[Pair]] = defaultdict(list)
    order: list[_Row] = []
    previous: Pair | None = None
    for pair in pairs:
        key = _key(pair)
        if key not in found:
            order.insert(_position(pair, previous, order), key)
        previous = pair
        found[key].append(pair)
    return tuple(_named_apart([_row(found[key]) for key in order]))


def _key(pair: Pair) -> _Row:
    """What pairs of one row have in common."""
    return in_layers(pair.reference), _ports(pair), str(pair.layout), pair.confidence


def _position(pair: Pair, previous: Pair | None, order: Sequence[_Row]) -> int:
    """Where a new row stands: beside that of its place in other layers, else behind what came before in its layer.

    What is in no layer is behind all that came before it, and what begins a layer before all that layers have.
    """
    alike = [at for at, row in enumerate(order) if row[0] == in_layers(pair.reference)]
    layer = layer_of(pair.reference)
    if alike or not layer:
        return alike[-1] + 1 if alike else len(order)
    if previous is not None and layer_of(previous.reference) == layer:
        return order.index(_key(previous)) + 1
    return next((at for at, row in enumerate(order) if LAYER in row[0]), len(order))


def _ports(pair: Pair) -> tuple[str, ...]:
    """The port's places with their layer left open, where that is the reference's."""
    layer = layer_of(pair.reference)
    return tuple(in_layers(place) if layer_of(place) == layer else place for place in pair.candidate)


def _row(pairs: Sequence[Pair]) -> TableRow:
    pair = pairs[0]
    layers = tuple(int(layer_of(one.reference)) for one in pairs if layer_of(one.reference))
    place = in_layers(pair.reference)
    return TableRow(step_name(place), place, _ports(pair), pair.layout, layers, pair.confidence)


def _named_apart(rows: Sequence[TableRow]) -> list[TableRow]:
    """Rows whose names differ: a further one of the same name and layer has a number behind it."""
    seen: dict[str, set[int]] = defaultdict(set)
    found = []
    for row in rows:
        name, number, layers = row.name, 1, set(row.layers or (-1,))
        while seen[name] & layers:
            number += 1
            name = f"{row.name}.{number}"
        seen[name] |= layers
        found.append(replace(row, name=name))
    return found


def _with_hands(rows: Sequence[TableRow], before: LearnedTable | None) -> tuple[TableRow, ...]:
    """The rows, with those that a person wrote in place of the learned ones of their places."""
    hands = {row.reference: row for row in before.rows if row.confidence == BY_HAND} if before else {}
    kept = [hands.pop(row.reference, row) for row in rows]
    return (*kept, *hands.values())
