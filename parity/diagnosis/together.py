"""What many known bugs would cause, from few runs: in lockstep each step has exact inputs, so bugs do not meet."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

from parity.diagnosis.matched import Plant, Tensors
from parity.errors import ParityError
from parity.trace import Key, Trace
from parity.variant import Variant

Wanted = Mapping[Variant, Collection[Key]]
"""Variants, each in a place, and where its effect is asked for."""

WORDS = 3
"""Of a step's name so many words say which part of the model it is of, as in ``text.layers.3.attn.q_proj``."""


def effects(plant: Plant, wanted: Wanted, oracle: Trace) -> Iterator[tuple[Variant, Tensors]]:
    """The tensors that each variant would have at its steps; those that cannot be planted are left out."""
    for batch in batches(list(wanted)):
        yield from _planted(plant, batch, wanted, oracle)


def batches(variants: Sequence[Variant]) -> list[list[Variant]]:
    """Variants that can be planted in one run: one bug in all of its places, others in other functions and scopes."""
    found: list[list[Variant]] = []
    taken: list[set[str]] = []
    for family in _families(variants):
        claimed = {*(scope(bug.first) for bug in family), *(edit.function for edit in family[0].edits)}
        free = next((number for number, others in enumerate(taken) if others.isdisjoint(claimed)), len(found))
        if free == len(found):
            found.append([])
            taken.append(set())
        found[free] += family
        taken[free] |= claimed
    return found


def scope(step: str) -> str:
    """The part of the model that a step is of: a bug may reach the next steps of its part past the taps, or a few."""
    return ".".join([word for word in step.split(".") if not word.isdecimal()][:WORDS])


def _families(variants: Sequence[Variant]) -> list[list[Variant]]:
    """The same bug in all its places."""
    found: dict[str, list[Variant]] = {}
    for variant in variants:
        found.setdefault(variant.name, []).append(variant)
    return list(found.values())


def _planted(
    plant: Plant, batch: Sequence[Variant], wanted: Wanted, oracle: Trace
) -> Iterator[tuple[Variant, Tensors]]:
    """One run of a batch; where it fails, of its halves, so that a bug that cannot be there costs itself alone."""
    keys = list(chain.from_iterable(wanted[variant] for variant in batch))
    try:
        tensors = plant(batch, oracle, keys)
    except ParityError:
        families = _families(batch)
        if len(families) > 1:
            for half in (families[: len(families) // 2], families[len(families) // 2 :]):
                yield from _planted(plant, list(chain.from_iterable(half)), wanted, oracle)
        return
    for variant in batch:
        yield variant, {key: tensors[key] for key in wanted[variant] if key in tensors}
