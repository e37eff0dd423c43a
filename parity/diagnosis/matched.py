"""The matched filter: what each known bug would cause at a step, from the same exact inputs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.contract import Contract
from parity.diagnosis.evidence import Evidence, Piece, flat
from parity.diagnosis.hypothesis import Hypothesis
from parity.diagnosis.together import Plant, Remembered, TensorsAt
from parity.dtypes import as_float64, kind_of, name_of, unit_roundoff
from parity.judging.judge import ALLOWED
from parity.placing import behind, placed
from parity.running.party import Crash, Party
from parity.scratch import scratch
from parity.traces.trace import Key, Trace
from parity.variant import Catalogue, Variant

RUNS = 128
"""Runs of variants in a judgement, each one forward pass at most; one run holds bugs of many parts of the model."""
REACH = 64
"""A step shows what went wrong in the missing steps before it, back to so many."""


class PartyPlant:
    """Plants variants in the oracle's own party, which is loaded already."""

    def __init__(self, party: Party) -> None:
        self._party = party

    def __call__(
        self,
        variants: Sequence[Variant],
        oracle: Trace,
        keys: Collection[Key],
        missing: frozenset[str] = frozenset(),
    ) -> TensorsAt:
        """Have the worker write the tensors, which are read when they are looked at."""
        wanted = list(keys)
        stack = ExitStack()
        output = stack.enter_context(scratch()) / "tensors.npz"
        found = self._party.call(
            "probe",
            variants=[[variant.name, variant.place] for variant in variants],
            oracle=str(oracle.path.resolve()),
            keys=[[key.phase, key.step, key.occurrence] for key in wanted],
            missing=sorted(missing),
            output=str(output),
        )
        return _Written(stack, output, [wanted[index] for index in found])


class _Written(Mapping[Key, NDArray[Any]]):
    """Tensors in a file, which goes when nobody refers to them any more."""

    def __init__(self, stack: ExitStack, file: Path, keys: Sequence[Key]) -> None:
        self._names = {key: f"arr_{number}" for number, key in enumerate(keys)}
        self._file = file
        weakref.finalize(self, stack.close)

    def __getitem__(self, key: Key) -> NDArray[Any]:
        with np.load(self._file) as file:
            value: NDArray[Any] = file[self._names[key]]
        return value

    def __iter__(self) -> Iterator[Key]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _alike(made: NDArray[Any], value: NDArray[Any]) -> bool:
    """Whether a candidate's value is what the oracle made; numbers that it rounds, but for K roundings."""
    if made.shape != value.shape or kind_of(name_of(value)) != "float":
        return np.array_equal(made, value)
    true, error = as_float64(made), as_float64(value) - as_float64(made)
    return bool(np.linalg.norm(error) <= ALLOWED * unit_roundoff(name_of(value)) * np.linalg.norm(true))


class Filter:
    """What the variants of a catalogue would cause.

    Args:
        catalogue: of the reference that the oracle is.
        plant: runs them.
        budget: how many runs there may be.
        notify: told of what is looked for.
        missing: steps that the candidate does not emit, so that they have no exact values.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        plant: Plant | Remembered,
        budget: int = RUNS,
        notify: Callable[[str], None] = lambda name: None,
        missing: frozenset[str] = frozenset(),
    ) -> None:
        self._catalogue = catalogue
        self._plant = Remembered.of(plant)
        self._notify = notify
        self._missing = missing
        self._named: dict[str, Variant] = {}
        self.left = budget

    def found(self, variant: Variant) -> None:
        """A variant was found: it may show at further steps of its place, and in other places, so it is tried first."""
        self._named[variant.name] = self._catalogue.get(variant.name)

    def knows(self, name: str) -> bool:
        """Whether that variant was found before."""
        return name in self._named

    def is_missing(self, hypothesis: Hypothesis) -> bool:
        """Whether a known bug is of a step that the candidate does not emit."""
        return hypothesis.variant is not None and hypothesis.variant.first in self._missing

    def prepare(self, groups: Iterable[Sequence[Piece]], oracle: Trace) -> None:
        """Run the variants of many steps together, which takes fewer runs than one step after the other."""
        wanted: dict[Variant, list[Key]] = {}
        for pieces in groups:
            keys = [piece.key for piece in pieces]
            for _, places in self._at(self._applicable(_steps(keys), oracle.contract), keys, oracle.contract):
                for here, own in places.items():
                    wanted.setdefault(here, []).extend(key for key in own if key not in wanted.get(here, ()))
        self._notify(f"{len(wanted)} known bugs")
        for _ in self._run(wanted, oracle):
            pass

    def effects(self, evidence: Evidence, oracle: Trace) -> Iterator[Hypothesis]:
        """Each applicable variant as a hypothesis, while the budget lasts; those that change nothing are left out.

        Variants that were found before come first; last those of the missing steps before this one, nearest first.
        """
        keys = [piece.key for piece in evidence.pieces]
        for variant, tensors in self._planted(keys, oracle):
            if any(piece.key not in tensors for piece in evidence.pieces):
                continue
            made = [(piece, tensors[piece.key]) for piece in evidence.pieces]
            if any(value.shape != piece.oracle.shape for piece, value in made):
                continue
            effect = flat(piece.effect(value) for piece, value in made)
            if np.any(effect):
                here = placed(variant, keys[0].step, oracle.contract)
                away = here is not None and here.away
                yield Hypothesis(variant.name, effect, variant.meaning, variant=variant, away=away)

    def same(self, value: NDArray[Any], key: Key, oracle: Trace) -> Iterator[Variant]:
        """The variants that make just that value of a step; its shape need not be the oracle's."""
        for variant, tensors in self._planted([key], oracle):
            if key in tensors and _alike(tensors[key], value):
                yield variant

    def _planted(self, keys: Sequence[Key], oracle: Trace) -> Iterator[tuple[Variant, TensorsAt]]:
        """What each applicable variant makes of some steps."""
        steps, contract = _steps(keys), oracle.contract
        for variant, places in self._at(self._applicable(steps, contract), keys, contract):
            yield variant, self._tensors(places, oracle)
        if len(steps) == 1:
            for here in self._hidden(steps[0], contract):
                if self.left < 1:
                    return
                self._notify(f"{here.name} at {here.first}")
                yield here, self._tensors({here: list(keys)}, oracle)

    def _at(
        self, variants: Iterable[Variant], keys: Sequence[Key], contract: Contract
    ) -> Iterator[tuple[Variant, dict[Variant, list[Key]]]]:
        """Each variant with its places, and the keys in each."""
        for variant in variants:
            places: dict[Variant, list[Key]] = {}
            for key in keys:
                here = placed(variant, key.step, contract) or behind(variant, key.step, contract)
                assert here is not None  # it is applicable
                places.setdefault(here, []).append(key)
            yield variant, places

    def _applicable(self, steps: Collection[str], contract: Contract) -> Iterator[Variant]:
        found = self._named.items()
        known = {name: bug for name, bug in found if all(behind(bug, step, contract) for step in steps)}
        yield from known.values()
        for variant in self._catalogue.variants:
            if variant.equivalent or variant.name in known:
                continue
            if all(placed(variant, step, contract) for step in steps):
                yield variant

    def _hidden(self, step: str, contract: Contract) -> Iterator[Variant]:
        """Variants of the missing steps that a step shows: those right before it first, then the others of its part."""
        for name in missing_before(step, contract, self._missing):
            for variant in self._catalogue.variants:
                here = None if variant.equivalent else placed(variant, name, contract)
                if here is not None:
                    yield here

    def _tensors(self, places: Mapping[Variant, Collection[Key]], oracle: Trace) -> TensorsAt:
        return {key: value for _, tensors in self._run(places, oracle) for key, value in tensors.items()}

    def _run(
        self, wanted: Mapping[Variant, Collection[Key]], oracle: Trace
    ) -> Iterator[tuple[Variant, dict[Key, NDArray[Any]]]]:
        before = self._plant.runs
        try:
            yield from self._plant.effects(wanted, oracle, self._missing, most=self.left)
        except Crash:
            self.left = 0  # the oracle's process is gone
        finally:
            self.left = max(0, self.left - (self._plant.runs - before))


def missing_before(step: str, contract: Contract, missing: Collection[str]) -> list[str]:
    """The missing steps whose errors a step may show: the gap right before it, then single ones further back."""
    if not missing or step not in contract.order:
        return []
    at = contract.order[step]
    return [name.name for name in reversed(contract.steps[max(0, at - REACH) : at]) if name.name in missing]


def _steps(keys: Iterable[Key]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key.step for key in keys))
