"""The contract as documentation: each step's axes, meaning and source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from parity.contract import Contract, Step
from parity.errors import UsageError
from parity.report.console import plain, print_line
from parity.report.fold import Family, split
from parity.report.numbers import count

LAYERS = "layers"
"""The part of a name that a layer's number follows."""


def select(contract: Contract, *, layer: int | None = None, text: str = "") -> tuple[Step, ...]:
    """Steps of one layer, and those whose name, meaning or source holds `text`, whatever its case.

    Raises:
        UsageError: when there is none.
    """
    found = tuple(
        step
        for step in contract
        if (layer is None or _layer(step.name)[1] == layer)
        and text.casefold() in f"{step.name}\n{step.meaning}\n{step.source}".casefold()
    )
    if not found:
        wanted = [f"of layer {layer}"] * (layer is not None) + [f"with {text!r}"] * bool(text)
        raise UsageError(f"the contract of {contract.model} has no step {' '.join(wanted)}")
    return found


def print_steps(contract: Contract, steps: Sequence[Step], out: Console, *, folded: bool) -> None:
    """Print steps in execution order; folded, a step that is alike in many layers once, with their range."""
    about = f"{_how_many(contract, steps)}; of each its axes, its meaning, and where the reference computes it"
    print_line(out, (plain(contract.model), "bold"), f": {about}")
    for line in _layers(steps):
        print_line(out, line)
    for step in fold_steps(steps) if folded else steps:
        out.print()
        _print_step(step, out)


def fold_steps(steps: Iterable[Step]) -> list[Step]:
    """One step for all that differ in one number of their name only, in the order of a layer that has them all."""
    families: dict[tuple[Any, ...], Family] = {}
    order: list[tuple[Any, ...]] = []
    examples: dict[tuple[Any, ...], Step] = {}
    place = 0
    for step in steps:
        before, index, after = split(step.name)
        key = (before, after, step.axes, step.kind, step.meaning, step.source, step.paper)
        if key not in families:
            families[key], examples[key] = Family(before, after), step
            # a step that the first layers lack belongs behind its predecessor, not behind everything
            order.insert(place, key)
        place = order.index(key) + 1
        families[key].indices += [] if index is None else [index]
    return [replace(examples[key], name=families[key].name) for key in order]


def contract_json(contract: Contract, steps: Iterable[Step]) -> dict[str, Any]:
    """The chosen steps as plain data, in the form that a contract has beside a trace."""
    chosen = replace(contract, steps=tuple(steps))
    return {"schema": "parity-contract", "version": 1, **chosen.to_json()}


def _print_step(step: Step, out: Console) -> None:
    kind = "" if step.kind == "float" else f"  ({step.kind})"
    print_line(out, (plain(step.name), "bold"), f"  {plain(' '.join(step.axes))}{kind}")
    print_line(out, plain(step.meaning), indent=4)
    sources = [plain(part) for part in (step.source, step.paper) if part]
    together = "  ".join(sources)
    for line in [together] if cell_len(together) + 6 <= out.width else sources:
        print_line(out, (line, "dim"), indent=4)


def _how_many(contract: Contract, steps: Sequence[Step]) -> str:
    every = count(len(contract), "step")
    return every if len(steps) == len(contract) else f"{len(steps):,} of {every}"


def _layers(steps: Iterable[Step]) -> list[str]:
    """How many steps which layers have, e.g. ``text.layers.{0-4}: 62 steps each``."""
    numbers = Counter(at for step in steps if (at := _layer(step.name))[1] is not None)
    alike: dict[tuple[str, int], Family] = {}
    for (scope, layer), number in numbers.items():
        if layer is not None:
            alike.setdefault((scope, number), Family(f"{scope}.")).indices.append(layer)
    return [f"{plain(family.name)}: {count(number, 'step')} each" for (_, number), family in alike.items()]


def _layer(name: str) -> tuple[str, int | None]:
    """The scope and number of the layer that a step is in: ``text.layers.3.out`` is in ``("text.layers", 3)``."""
    before, index, _ = split(name)
    scope = before.rstrip(".")
    return (scope, index) if index is not None and scope.split(".")[-1] == LAYERS else (scope, None)
