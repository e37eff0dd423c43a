"""What many known bugs would cause, from few runs, and each run once: in lockstep bugs of other parts do not meet."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from numpy.typing import NDArray

from parity.errors import ParityError
from parity.running.party import Crash
from parity.traces.trace import Key, Trace
from parity.variant import Variant

TensorsAt = Mapping[Key, NDArray[Any]]
Wanted = Mapping[Variant, Collection[Key]]
"""Variants, each in a place, and where its effect is asked for."""

WORDS = 3
"""Of a step's name so many words say which part of the model it is of, as in ``text.layers.3.attn.q_proj``."""
MEMORY = 2 * 1024**3
"""What is remembered of one oracle; beyond, the oldest is forgotten and run again when it is asked for."""
FLOAT64 = 8


class Plant(Protocol):
    """Runs the oracle with known bugs, in lockstep."""

    def __call__(
        self,
        variants: Sequence[Variant],
        oracle: Trace,
        keys: Collection[Key],
        missing: frozenset[str] = frozenset(),
    ) -> TensorsAt:
        """What it has at some steps of the oracle's scenario, where values of `missing` steps are not replaced.

        Raises:
            ParityError: where a variant cannot be.
        """
        ...


@dataclass
class _Known:
    """What was found of one oracle under one coverage; None where a variant does not make a step, or cannot be."""

    tensors: dict[Variant, dict[Key, TensorsAt | None]] = field(default_factory=dict)
    size: int = 0


class Remembered:
    """Plants what is asked for once: what a bug causes at a step does not depend on whose error it is held against.

    Candidates and threads may share it.

    Attributes:
        runs: how many runs there were.
    """

    def __init__(self, plant: Plant) -> None:
        self.runs = 0
        self._plant = plant
        self._lock = Lock()
        self._known: dict[tuple[Path, frozenset[str]], _Known] = {}

    @classmethod
    def of(cls, plant: Plant | Remembered) -> Remembered:
        """What remembers already, or a memory around what plants."""
        return plant if isinstance(plant, cls) else cls(plant)  # type: ignore[arg-type]

    def effects(
        self, wanted: Wanted, oracle: Trace, missing: frozenset[str] = frozenset(), *, most: float = math.inf
    ) -> Iterator[tuple[Variant, dict[Key, NDArray[Any]]]]:
        """The tensors that each variant has at its steps, with `most` further runs; what cannot be planted is left out.

        Raises:
            Crash: when the oracle's process is gone.
        """
        known = self._known.setdefault((oracle.path, missing), _Known())
        waiting = [variant for variant in wanted if self._unknown(known, variant, wanted)]
        for variant in wanted:
            if variant not in waiting:
                yield from self._told(known, variant, wanted[variant])
        before = self.runs
        for batch in batches(waiting, missing):
            if self.runs - before >= most:
                return
            with self._lock:
                self._learn(known, batch, wanted, oracle, missing)
            for variant in batch:
                yield from self._told(known, variant, wanted[variant])

    def forget(self) -> None:
        """Make room for the next oracle."""
        with self._lock:
            self._known.clear()

    @staticmethod
    def _unknown(known: _Known, variant: Variant, wanted: Wanted) -> list[Key]:
        return [key for key in wanted[variant] if key not in known.tensors.get(variant, {})]

    @staticmethod
    def _told(
        known: _Known, variant: Variant, keys: Collection[Key]
    ) -> Iterator[tuple[Variant, dict[Key, NDArray[Any]]]]:
        held = known.tensors.get(variant, {})
        found = {key: tensors[key] for key in keys if (tensors := held.get(key)) is not None}
        if found:
            yield variant, found

    def _learn(
        self, known: _Known, batch: Sequence[Variant], wanted: Wanted, oracle: Trace, missing: frozenset[str]
    ) -> None:
        """Run what of a batch is not known yet; known only when the run is over, for others may look."""
        keys = {variant: new for variant in batch if (new := self._unknown(known, variant, wanted))}
        found: dict[Variant, dict[Key, TensorsAt | None]]
        found = {variant: dict.fromkeys(new) for variant, new in keys.items()}
        for variants, tensors in self._planted(list(keys), keys, oracle, missing):
            for variant in variants:
                found[variant].update({key: tensors for key in keys[variant] if key in tensors})
        for variant, made in found.items():
            known.tensors[variant] = {**known.tensors.get(variant, {}), **made}
        known.size += sum(_bytes(oracle, key) for new in keys.values() for key in new)
        while known.size > MEMORY and len(known.tensors) > len(batch):
            oldest = next(iter(known.tensors))
            known.size -= sum(_bytes(oracle, key) for key in known.tensors.pop(oldest))

    def _planted(
        self, batch: Sequence[Variant], keys: Wanted, oracle: Trace, missing: frozenset[str]
    ) -> Iterator[tuple[Sequence[Variant], TensorsAt]]:
        """One run of a batch; where it fails, of its halves, so that a bug that cannot be there costs itself alone."""
        if not batch:
            return
        self.runs += 1
        try:
            every = list(dict.fromkeys(chain.from_iterable(keys[variant] for variant in batch)))
            yield batch, self._plant(batch, oracle, every, missing)
        except Crash:
            raise
        except ParityError:
            families = _families(batch)
            if len(families) > 1:
                for half in (families[: len(families) // 2], families[len(families) // 2 :]):
                    yield from self._planted(list(chain.from_iterable(half)), keys, oracle, missing)


def batches(variants: Sequence[Variant], missing: Collection[str] = ()) -> list[list[Variant]]:
    """Variants that can be planted in one run: one bug in all of its places, others in other functions and scopes.

    A run is of one part of the model (``text``, ``vision``), for a reference need not run the others. One whose own
    step is missing runs alone: its error goes on to wherever values are replaced again.
    """
    found: list[list[Variant]] = []
    taken: list[set[str]] = []
    for family in _families([variant for variant in variants if variant.first not in missing]):
        claimed = {*(scope(bug.first) for bug in family), *(edit.function for edit in family[0].edits)}
        part = {bug.first.partition(".")[0] for bug in family}
        free = next(
            (
                number
                for number, others in enumerate(taken)
                if others.isdisjoint(claimed) and part == {bug.first.partition(".")[0] for bug in found[number]}
            ),
            len(found),
        )
        if free == len(found):
            found.append([])
            taken.append(set())
        found[free] += family
        taken[free] |= claimed
    return [*found, *([variant] for variant in variants if variant.first in missing)]


def scope(step: str) -> str:
    """The part of the model that a step is of: a bug may reach the next steps of its part past the taps, or a few."""
    return ".".join([word for word in step.split(".") if not word.isdecimal()][:WORDS])


def _families(variants: Sequence[Variant]) -> list[list[Variant]]:
    """The same bug in all its places."""
    found: dict[str, list[Variant]] = {}
    for variant in variants:
        found.setdefault(variant.name, []).append(variant)
    return list(found.values())


def _bytes(oracle: Trace, key: Key) -> int:
    record = oracle.records.get(key)
    return FLOAT64 * math.prod(record.shape) if record else 0
