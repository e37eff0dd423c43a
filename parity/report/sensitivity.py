"""What an ok is worth: the smallest fault that is seen at each step."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from rich.console import Console

from parity.report.console import plain, print_line
from parity.report.fold import Family, split
from parity.report.numbers import count, error, ratio
from parity.report.table import Table
from parity.variants.sensitivity import Sensitivity, Smallest

ANY, NONE = "any", "none"
"""Of integers and masks any difference is seen; of a step that is all zero in the oracle, none of this kind."""


def print_sensitivity(found: Sensitivity, steps: Collection[str], out: Console, *, folded: bool) -> None:
    """A line for each step, in execution order: the fault below which one of its layers or phases may hide one."""
    here = [one for one in found.smallest if one.key.step in steps]
    print_line(
        out, (f"smallest fault that is seen in {plain(found.dtype)}", "bold"), ", relative L2, from exact inputs"
    )
    grid = Table("step", "fault", "floors", "phase", right=("fault", "floors"))
    for name, alike in _families(here) if folded else [(one.key.step, [one]) for one in here]:
        worst = max(alike, key=lambda one: one.size)
        grid.add(plain(name), size(worst.size), _floors(worst), plain(worst.key.phase))
    grid.print(out, indent=0)
    if missing := len(set(steps) - {one.key.step for one in here}):
        print_line(out, f"{count(missing, 'step')} did not run: give --image, --audio")


def sensitivity_json(found: Sensitivity, steps: Collection[str]) -> dict[str, Any]:
    """The same as plain data, each step in each phase; a size is null where no fault is seen."""
    rows = [
        {
            "step": one.key.step,
            "phase": one.key.phase,
            "smallest": one.size if math.isfinite(one.size) else None,
            "floor": one.floor,
        }
        for one in found.smallest
        if one.key.step in steps
    ]
    return {"schema": "parity-sensitivity", "version": 1, "dtype": found.dtype, "steps": rows}


def size(value: float) -> str:
    """A smallest fault as tables write it."""
    return error(value) if 0.0 < value < math.inf else NONE if value else ANY


def _floors(one: Smallest) -> str:
    return ratio(one.size / one.floor) if one.floor and one.size else "-"


def _families(found: Sequence[Smallest]) -> list[tuple[str, list[Smallest]]]:
    """Steps that are alike but for the layer, under one name."""
    families: dict[tuple[str, str], tuple[Family, list[Smallest]]] = {}
    for one in found:
        before, index, after = split(one.key.step)
        family, alike = families.setdefault((before, after), (Family(before, after), []))
        if index is not None and index not in family.indices:
            family.indices.append(index)
        alike.append(one)
    return [(family.name, alike) for family, alike in families.values()]
