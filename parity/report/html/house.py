"""The house of the model: its towers and layers as a map, each room coloured by the worst step in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from parity.judging.judgement import Judgement
from parity.judging.verdict import Status, StepVerdict
from parity.report.address import Address, address_of
from parity.report.levels import LevelScale, compact
from parity.traces.trace import Key, Mode


@dataclass(frozen=True)
class Room:
    """Some steps as one.

    Attributes:
        level: of the colour; -1 where nothing was measured.
        text: how many floors the worst is.
        step: the worst step's name.
        page: id of its page, or empty.
        own: whether any step in it was introduced.
    """

    level: int
    text: str
    step: str = ""
    page: str = ""
    own: bool = False


EMPTY = Room(-1, "")
_SHORT = {
    Status.CONTRACT: "shape", Status.NONFINITE: "NaN", Status.UNCOVERED: "gap", Status.UNEXPECTED: "new",
    Status.HIDDEN: "hidden",
}  # fmt: skip
"""What a room says that has no number."""


@dataclass
class Storey:
    """A stack of layers: rooms by part and layer."""

    scope: str
    layers: list[int] = field(default_factory=list)
    rows: dict[str, dict[int, Room]] = field(default_factory=dict)


@dataclass
class Tower:
    """One tower: what is outside of its layers, and its stacks of layers."""

    name: str
    rooms: dict[str, Room] = field(default_factory=dict)
    floors: list[Storey] = field(default_factory=list)


@dataclass(frozen=True)
class House:
    """The maps of one judgement: by run, lockstep first, for there only the faults themselves light up."""

    judgement: Judgement
    runs: tuple[tuple[Mode, list[Tower]], ...]


def house(judgement: Judgement, scale: LevelScale, pages: Mapping[Key, str]) -> House:
    """The maps of one judgement, over all phases; a run that was not made has none."""
    lockstep = any(step.lockstep for step in judgement.steps)
    free = any(step.free for step in judgement.steps) or not lockstep
    made: tuple[tuple[Mode, bool], ...] = (("lockstep", lockstep), ("free", free))
    modes = [mode for mode, there in made if there]
    return House(judgement, tuple((mode, _towers(judgement, mode, scale, pages)) for mode in modes))


def _towers(judgement: Judgement, mode: Mode, scale: LevelScale, pages: Mapping[Key, str]) -> list[Tower]:
    found: dict[Address, list[StepVerdict]] = {}
    for step in judgement.steps:
        found.setdefault(address_of(step.step), []).append(step)
    towers: dict[str, Tower] = {}
    floors: dict[str, Storey] = {}
    for address, steps in found.items():
        tower = towers.setdefault(address.tower, Tower(address.tower))
        room = _room(steps, mode, scale, pages)
        if address.layer is None:
            tower.rooms[address.part] = room
            continue
        if address.scope not in floors:
            floors[address.scope] = Storey(address.scope)
            tower.floors.append(floors[address.scope])
        _move_in(floors[address.scope], address.part, address.layer, room)
    return list(towers.values())


def _move_in(floor: Storey, part: str, layer: int, room: Room) -> None:
    if layer not in floor.layers:
        floor.layers = sorted([*floor.layers, layer])
    floor.rows.setdefault(part, {})[layer] = room


def _room(steps: Sequence[StepVerdict], mode: Mode, scale: LevelScale, pages: Mapping[Key, str]) -> Room:
    """The worst of its steps; a fault without a number outranks all, a step that was not compared none."""
    own = any(step.status.origin for step in steps)
    worst = max(steps, key=lambda step: _size(step, mode))
    linked = [step for step in steps if step.key in pages]
    page = pages[max(linked, key=lambda step: _size(step, mode)).key] if linked else ""
    ratio = _ratio(worst, mode)
    if math.isnan(ratio):
        return Room(-1, _SHORT.get(worst.status, "–"), worst.step, page, own)
    return Room(scale.level(ratio), compact(ratio), worst.step, page, own)


def _size(step: StepVerdict, mode: Mode) -> tuple[bool, float]:
    ratio = _ratio(step, mode)
    return step.status.origin, -1.0 if math.isnan(ratio) else ratio


def _ratio(step: StepVerdict, mode: Mode) -> float:
    run = step.lockstep if mode == "lockstep" else step.free
    return run.ratio if run else math.nan
