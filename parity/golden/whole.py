"""Whether a golden says all that it should, once, and nothing that cannot be: what it lacks would not be compared."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from parity.contract import Contract
from parity.errors import UsageError
from parity.golden.format import Arrays, ChunkManifest, Golden
from parity.golden.packing import SUMMARY, floor_name
from parity.golden.sketches import BYTES, FOLDED
from parity.judging.floors import plausible
from parity.scenario import Chunk, Scenario

WIDTHS = {"sketch": (FOLDED * BYTES,), "scale": (), "rms": (), "summary": (len(SUMMARY),), "shape": ()}
"""Of each array's rows; floors have none."""

Position = tuple[str, int, int]
"""Phase, row and token."""


def require_undamaged(golden: Golden, contract: Contract, name: str) -> None:
    """Refuse a golden that lost something, says it twice, or would let anything pass.

    Args:
        golden: of the contract.
        contract: of its set.
        name: of its folder.

    Raises:
        UsageError: saying what is wrong first.
    """
    if wrong := next(_wrong(golden, contract, name), ""):
        raise UsageError(f"golden {name} is damaged: {wrong}; restore it, or make it again")


def _wrong(golden: Golden, contract: Contract, name: str) -> Iterator[str]:
    made = golden.manifest
    scenario = Scenario.from_json(made.scenario)
    if made.name != name:
        yield f"manifest.json calls it {made.name}"
    if not scenario.resolved:
        yield "its scenario lacks tokens"
    phases, kept = [chunk.phase for chunk in scenario.chunks], [chunk.phase for chunk in made.chunks]
    if phases != kept:
        yield f"its scenario has the chunks {', '.join(phases)}, and kept are {', '.join(kept) or 'none'}"
    for chunk, about in zip(scenario.chunks, made.chunks, strict=True):
        yield from _wrong_arrays(golden.arrays[chunk.phase], chunk, about, contract, made.dtypes)
    yield from _wrong_tokens(golden, scenario, contract)


def _wrong_arrays(
    arrays: Arrays, chunk: Chunk, about: ChunkManifest, contract: Contract, dtypes: list[str]
) -> Iterator[str]:
    expected = len(contract.expected(chunk.holds))
    if about.records != expected:
        yield f"{chunk.phase} has {about.records} steps, the contract has {expected}"
    for name, width in chain(WIDTHS.items(), ((floor_name(dtype), ()) for dtype in dtypes)):
        if name not in arrays or arrays[name].shape != (expected, *width):
            found = arrays[name].shape if name in arrays else "none"
            yield f"{chunk.phase} has {found} {name}, of shape {(expected, *width)} it should be"
    for dtype in dtypes:
        floors = arrays[floor_name(dtype)].astype(np.float64)
        if not np.all((floors >= 0) & (floors <= plausible(dtype))):
            worst = floors[np.argmax(~(floors <= plausible(dtype)) | (floors < 0))]
            yield (
                f"{chunk.phase} has a floor of {worst:.1e} in {dtype}, where correct arithmetic errs at most "
                f"{plausible(dtype):.1e}"
            )


def _wrong_tokens(golden: Golden, scenario: Scenario, contract: Contract) -> Iterator[str]:
    """Every real token that has logits has its line in ``tokens.tsv``, and one alone."""
    found = [(choice.phase, choice.row, choice.token) for choice in golden.choices]
    expected = set(_positions(golden, scenario, contract))
    if twice := [position for position in found if found.count(position) > 1] if len(set(found)) < len(found) else []:
        yield f"tokens.tsv has {_said(twice[0])} twice"
    if lost := expected - set(found):
        yield f"tokens.tsv lacks {_said(min(lost))}"
    if strange := set(found) - expected:
        yield f"tokens.tsv has {_said(min(strange))}, which the scenario lacks"


def _positions(golden: Golden, scenario: Scenario, contract: Contract) -> Iterator[Position]:
    for chunk, about in zip(scenario.chunks, golden.manifest.chunks, strict=True):
        names = [step.name for step in contract.expected(chunk.holds)]
        if contract.logits not in names:
            continue
        shape = about.shapes[int(golden.arrays[chunk.phase]["shape"][names.index(contract.logits)])]
        for row, token in np.argwhere(scenario.valid(chunk.phase, shape[1])).tolist():
            yield chunk.phase, row, token


def _said(position: Position) -> str:
    return "{}, row {}, token {}".format(*position)
