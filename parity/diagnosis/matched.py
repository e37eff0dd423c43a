"""The matched filter: what each known bug would cause at a step, from the same exact inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parity.contract import Contract
from parity.diagnosis.evidence import Evidence, flat
from parity.diagnosis.hypothesis import Hypothesis
from parity.dtypes import as_float64, kind_of, name_of, unit_roundoff
from parity.errors import ParityError
from parity.judge import ALLOWED
from parity.party import Crash, Party
from parity.placing import behind, placed
from parity.trace import Key, Trace
from parity.variant import Catalogue, Variant

RUNS = 128
"""Runs of variants in a judgement; a step has at most some 15 variants, and a run takes one forward pass at most."""

Tensors = dict[Key, NDArray[Any]]


class Plant(Protocol):
    """Runs the oracle with known bugs, in lockstep."""

    def __call__(self, variants: Sequence[Variant], oracle: Trace, keys: Collection[Key]) -> Tensors:
        """What it has at some steps of the oracle's scenario.

        Raises:
            ParityError: where a variant cannot be.
        """
        ...


class PartyPlant:
    """Plants variants in the oracle's own party, which is loaded already."""

    def __init__(self, party: Party) -> None:
        self._party = party

    def __call__(self, variants: Sequence[Variant], oracle: Trace, keys: Collection[Key]) -> Tensors:
        """Have the worker write the tensors, and read them."""
        wanted = list(keys)
        with tempfile.TemporaryDirectory(prefix="parity-probe-") as folder:
            output = Path(folder) / "tensors.npz"
            found = self._party.call(
                "probe",
                variants=[[variant.name, variant.place] for variant in variants],
                oracle=str(oracle.path.resolve()),
                keys=[[key.phase, key.step, key.occurrence] for key in wanted],
                output=str(output),
            )
            with np.load(output) as file:
                return {wanted[index]: file[f"arr_{number}"] for number, index in enumerate(found)}


class Remembered:
    """Plants what is asked for once: what bugs cause at a step does not depend on whose error it is held against.

    Threads may share it.
    """

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._lock = Lock()
        self._known: dict[tuple[Path, tuple[Variant, ...]], dict[Key, NDArray[Any] | None]] = {}

    def __call__(self, variants: Sequence[Variant], oracle: Trace, keys: Collection[Key]) -> Tensors:
        """What was found before, and a run for the rest."""
        with self._lock:
            known = self._known.setdefault((oracle.path, tuple(variants)), {})
            if new := [key for key in keys if key not in known]:
                found = self._plant(variants, oracle, new)
                known |= {key: found.get(key) for key in new}
        return {key: tensor for key in keys if (tensor := known[key]) is not None}

    def forget(self) -> None:
        """For the next oracle."""
        self._known.clear()


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
        notify: told of each run.
    """

    def __init__(
        self, catalogue: Catalogue, plant: Plant, budget: int = RUNS, notify: Callable[[str], None] = lambda name: None
    ) -> None:
        self._catalogue = catalogue
        self._plant = plant
        self._notify = notify
        self._named: dict[str, Variant] = {}
        self.left = budget

    def found(self, variant: Variant) -> None:
        """A variant was found: it may show at further steps of its place, and in other places, so it is tried first."""
        self._named[variant.name] = variant

    def knows(self, name: str) -> bool:
        """Whether that variant was found before."""
        return name in self._named

    def effects(self, evidence: Evidence, oracle: Trace) -> Iterator[Hypothesis]:
        """Each applicable variant as a hypothesis, while the budget lasts; those that change nothing are left out.

        Variants that were found before come first.
        """
        keys = [piece.key for piece in evidence.pieces]
        for variant, tensors in self._planted(keys, oracle):
            if any(tensors.get(piece.key, np.zeros(0)).shape != piece.oracle.shape for piece in evidence.pieces):
                continue
            effect = flat(piece.effect(tensors[piece.key]) for piece in evidence.pieces)
            if np.any(effect):
                yield Hypothesis(variant.name, effect, variant.meaning, variant=variant)

    def same(self, value: NDArray[Any], key: Key, oracle: Trace) -> Iterator[Variant]:
        """The variants that make just that value of a step; its shape need not be the oracle's."""
        for variant, tensors in self._planted([key], oracle):
            if key in tensors and _alike(tensors[key], value):
                yield variant

    def _planted(self, keys: Sequence[Key], oracle: Trace) -> Iterator[tuple[Variant, Tensors]]:
        """What each applicable variant makes of some steps."""
        steps = tuple(dict.fromkeys(key.step for key in keys))
        for variant in self._applicable(steps, oracle.contract):
            if self.left < len(steps):
                return
            try:
                yield variant, self._tensors(variant, steps, keys, oracle)
            except Crash:
                self.left = 0  # the oracle's process is gone
            except ParityError:
                continue  # it cannot be in this place, or in this model

    def _applicable(self, steps: Collection[str], contract: Contract) -> Iterator[Variant]:
        found = self._named.items()
        known = {name: bug for name, bug in found if all(behind(bug, step, contract) for step in steps)}
        yield from known.values()
        for variant in self._catalogue.variants:
            if variant.equivalent or variant.name in known:
                continue
            if all(placed(variant, step, contract) for step in steps):
                yield variant

    def _tensors(self, variant: Variant, steps: Collection[str], keys: Sequence[Key], oracle: Trace) -> Tensors:
        tensors: Tensors = {}
        for step in steps:
            self.left -= 1
            self._notify(f"{variant.name} at {step}")
            here = placed(variant, step, oracle.contract) or behind(variant, step, oracle.contract)
            assert here is not None
            tensors |= self._plant([here], oracle, [key for key in keys if key.step == step])
        return tensors
