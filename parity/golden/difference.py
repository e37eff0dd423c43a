"""What an update changed, in words that a reviewer can judge: by how many floors values moved, which tokens differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from parity.contract import Contract
from parity.golden.format import Golden
from parity.golden.packing import floor_name, records, stored_floors
from parity.traces.trace import Key, Record, statistics_of

SHORT = 12
"""Digits of a digest that are shown."""

Word = Literal["new", "removed", "changed", "the same"]


@dataclass(frozen=True)
class Change:
    """What became of one golden; `lines` say what changed."""

    name: str
    word: Word
    lines: tuple[str, ...] = ()


def difference(old: Golden | None, new: Golden, contract: Contract) -> Change:
    """Compare a golden with its successor, whose contract is given."""
    name = new.manifest.name
    if old is None:
        return Change(name, "new", (_size(new),))
    lines = (*_provenance(old, new), *_choices(old, new), *_values(old, new, contract), *_floors(old, new))
    return Change(name, "changed" if lines else "the same", tuple(lines))


def _size(golden: Golden) -> str:
    made = golden.manifest
    return f"{len(made.chunks)} chunks, {sum(c.records for c in made.chunks):,} steps, {len(golden.choices):,} tokens"


def _provenance(old: Golden, new: Golden) -> Iterator[str]:
    before, after = old.manifest, new.manifest
    for field in ("model", "weights", "contract", "steps", "reference"):
        if getattr(before, field) != getattr(after, field):
            yield f"{field}: {getattr(before, field)[:SHORT]} -> {getattr(after, field)[:SHORT]}"
    for library in sorted(before.versions.keys() | after.versions.keys()):
        if before.versions.get(library) != after.versions.get(library):
            yield f"{library}: {before.versions.get(library, 'none')} -> {after.versions.get(library, 'none')}"
    if before.dtypes != after.dtypes:
        yield f"dtypes: {', '.join(before.dtypes)} -> {', '.join(after.dtypes)}"
    if before.prompt != after.prompt or before.scenario != after.scenario:
        yield "the scenario or its prompt changed"


def _choices(old: Golden, new: Golden) -> Iterator[str]:
    before = {(choice.phase, choice.row, choice.token): choice for choice in old.choices}
    after = {(choice.phase, choice.row, choice.token): choice for choice in new.choices}
    moved = [at for at in before.keys() & after.keys() if before[at].id != after[at].id]
    if before.keys() != after.keys():
        yield f"tokens: {len(before):,} -> {len(after):,} positions"
    if moved:
        at = next(place for place in after if place in moved)
        first = f"{at[0]}, row {at[1]}, token {at[2]}: {before[at].id} -> {after[at].id}"
        yield f"greedy tokens: {len(moved):,} of {len(after):,} differ; first at {first}, margin {after[at].margin:.2g}"


def _values(old: Golden, new: Golden, contract: Contract) -> Iterator[str]:
    if old.manifest.contract != new.manifest.contract:
        yield "values: of another contract, not compared"
        return
    before, after = _by_key(old, contract), _by_key(new, contract)
    if missing := before.keys() ^ after.keys():
        yield f"steps: {len(missing):,} are not in both"
    common = [key for key in after if key in before]
    if reshaped := [key for key in common if before[key].shape != after[key].shape]:
        yield f"shapes: {len(reshaped):,} differ, first {reshaped[0].step} ({reshaped[0].phase})"
    yield from _moved(new, contract, before, {key: after[key] for key in common if key not in reshaped})


def _moved(new: Golden, contract: Contract, before: Mapping[Key, Record], after: Mapping[Key, Record]) -> Iterator[str]:
    """How far the oracle's values moved, in floors of the first arithmetic, the finest; ids and masks have none."""
    floors = _floor_by_key(new, contract)
    moved = {key: distance for key, record in after.items() if (distance := _distance(before[key], record))}
    if exact := [key for key in moved if not floors[key]]:
        yield f"ids and masks: {len(exact):,} differ, first {exact[0].step} ({exact[0].phase})"
    ratios = {key: distance / floors[key] for key, distance in moved.items() if floors[key]}
    if ratios:
        key = max(ratios, key=lambda one: ratios[one])
        most = f"{moved[key]:.1e} = {ratios[key]:,.3g} floors of {new.manifest.dtypes[0]} at {key.step} ({key.phase})"
        yield f"values: {len(ratios):,} of {len(after):,} steps moved, the most by {most}"


def _floors(old: Golden, new: Golden) -> Iterator[str]:
    for dtype in new.manifest.dtypes:
        name = floor_name(dtype)
        for_both = [
            (old.arrays[phase][name], arrays[name])
            for phase, arrays in new.arrays.items()
            if name in old.arrays.get(phase, {}) and old.arrays[phase][name].shape == arrays[name].shape
        ]
        before, after = (np.concatenate([np.zeros(0), *side]).astype(np.float64) for side in _sides(for_both))
        changed = (before != after) & (before > 0)
        if changed.any():
            factors = after[changed] / before[changed]
            span = f"{factors.min():.3g} to {factors.max():.3g} times what they were"
            yield f"floors of {dtype}: {int(changed.sum()):,} of {changed.size:,} changed, {span}"


def _sides(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [before for before, _ in pairs], [after for _, after in pairs]


def _by_key(golden: Golden, contract: Contract) -> dict[Key, Record]:
    return {record.key: record for record in records(golden, contract)}


def _floor_by_key(golden: Golden, contract: Contract) -> dict[Key, float]:
    floors = stored_floors(golden, contract, golden.manifest.dtypes[0])
    return {key: floor.relative for key, floor in floors.items()}


def _distance(before: Record, after: Record) -> float:
    """Estimate of how far a tensor moved, relative to its norm now."""
    old, new = statistics_of(before), statistics_of(after)
    distance = float(np.linalg.norm(np.asarray(new.sketch) - np.asarray(old.sketch)))
    return distance if distance == 0.0 else distance / new.norm if new.norm else float("inf")
