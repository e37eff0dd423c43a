"""Where a fault is: the first step whose value at the port is another once the line is edited.

That is known of the port alone, with its line and without it, in runs where values flow on. No reference, no floor and
no verdict has a part in it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType

import numpy as np

from parity.contract import Contract
from parity.learning.everywhere import source_of
from parity.learning.layout import distance
from parity.traces.trace import Key, Trace
from tools.heldout.plants import Plant

CHANGED = 2.0**-20
"""Relative L2 from which on a value is another: 16 roundings of float32, which a step of right code may err."""
MATTERS = 1e-5
"""Relative L2 at the logits below which a fault changes nothing: right executions of one model differ by so much."""


@dataclass(frozen=True)
class Truth:
    """What a fault changes.

    Attributes:
        key: the first step that is another.
        reference: where the reference computes it.
        change: by how much it is another, relative L2.
        logits: by how much the logits are, in the phase where they are most.
        places: of the port, one of which computes it.
    """

    key: Key
    reference: str
    change: float
    logits: float
    places: tuple[str, ...] = ()

    @property
    def matters(self) -> bool:
        """Whether it changes what comes out."""
        return not self.logits < MATTERS


def truth_of(contract: Contract, *, clean: Trace, planted: Trace) -> Truth | None:
    """The first change between the free runs of a port and of the same with a fault; None where there is none."""
    changes = {key: _change(key, clean, planted) for key in _keys(contract, clean)}
    first = next((key for key, change in changes.items() if not change < CHANGED), None)
    if first is None:
        return None
    step = contract.get(first.step)
    logits = [change for key, change in changes.items() if key.step == contract.logits]
    return Truth(first, step.source if step else "", changes[first], float(np.max(logits)))


def _keys(contract: Contract, clean: Trace) -> Iterator[Key]:
    """In execution order, phase after phase."""
    for chunk in clean.scenario.chunks:
        keys = (Key(chunk.phase, step.name) for step in contract.expected(chunk.holds))
        yield from (key for key in keys if key in clean.records)


def _change(key: Key, clean: Trace, planted: Trace) -> float:
    """Infinite where a value is gone, or has another shape."""
    if clean.same(key, planted):
        return 0.0
    one, other = clean.tensor(key), planted.tensor(key) if key in planted.records else None
    if one is None or other is None or one.shape != other.shape:
        return float("inf")
    return distance(oracle=one.astype(np.float64), candidate=other.astype(np.float64))


def stands_behind(plant: Plant, function: FunctionType, place: str) -> bool | None:
    """Whether a place of the port stands at a plant's line or behind it; None where it is in another function."""
    frame, _, site = place.partition(": ")
    if frame.rpartition("/")[2].partition("@")[0] != plant.edit.function.partition(":")[2]:
        return None
    last = max(_lines(ast.parse(source_of(function)), site), default=0)
    return function.__code__.co_firstlineno + last - 1 >= plant.line


def _lines(tree: ast.AST, site: str) -> Iterator[int]:
    """The last lines of what computes a site: of an assignment by its number, of an expression by its text."""
    name, _, number = site.partition("~")[0].partition("[")[0].rpartition("#")
    nodes: list[ast.stmt | ast.expr]
    if site.startswith("`"):
        text = site.partition("~")[0].split("`")[1].removesuffix("...")
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.expr) and ast.unparse(node).startswith(text)]
    elif site.startswith("return"):
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Return)]
    else:
        stores = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
        mine = sorted((node for node in stores if node.id == name), key=lambda node: (node.lineno, node.col_offset))
        nodes = [*mine[int(number) : int(number) + 1]] if number.isdigit() else []
    yield from (node.end_lineno or node.lineno for node in nodes)
