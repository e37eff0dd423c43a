"""Judging a free run against a golden.

Without the oracle's tensors no step starts from exact inputs, so a step cannot be told from what came before it. But
errors only add up in execution order: the first step whose error exceeds its free floor is where something other than
rounding entered. Steps behind it that exceed theirs pass it on, or err too; that only a lockstep run tells.

Two things blunt the view, and the floors are doubled for them (`SPREAD`): an estimate from 31 numbers is up to 25 % off
in 95 of 100 cases and up to 40 % in the worst of thousands; and it is not known how much more a candidate's own steps
err than the baseline's, which the full judge measures in lockstep and multiplies the free floor by (up to K). A bug
smaller than `2 * K` floors of a free run stays unseen here; `parity compare` sees those down to K floors of each step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from parity.dtypes import kind_of
from parity.errors import UsageError
from parity.golden.format import Golden
from parity.golden.packing import stored_floors
from parity.golden.sketches import distance, folded, statistics_without_padding
from parity.judging.floors import Floor
from parity.judging.greedy import greedy_ids, logits_of
from parity.judging.judge import ALLOWED, Judge, require_same
from parity.judging.judgement import Judgement
from parity.judging.values import values
from parity.judging.verdict import Status, StepVerdict, TokenVerdict
from parity.traces.measure import Error
from parity.traces.runs import Runs
from parity.traces.scale import layout_of, typical_power
from parity.traces.trace import Key, Trace

SPREAD = 2.0
"""How many times the baseline's free floor a free run is held to, within K of it."""

BEHIND_FIRST = "behind the first divergence; only a lockstep run tells whether it errs by itself"


class StoredFloors:
    """The free floors that a golden keeps of one arithmetic; there is no lockstep run to hold to any."""

    def __init__(self, floors: dict[Key, Floor]) -> None:
        self._floors = floors

    def lockstep(self, key: Key) -> Floor:
        """Not measured."""
        return Floor()

    def free(self, key: Key) -> Floor:
        """What the step may err, within K times of it."""
        return self._floors[key].times(SPREAD)


def judge_golden(golden: Golden, *, oracle: Trace, candidate: Trace, name: str) -> Judgement:
    """Judge a free run.

    Args:
        golden: holds the floors and the oracle's choices.
        oracle: the golden as `parity.golden.stage` has it.
        candidate: the run, with tensors.
        name: what reports call the candidate.

    Raises:
        UsageError: when the golden has no floors in the candidate's arithmetic.
    """
    made = candidate.manifest
    require_floors(golden, made.dtype)
    require_same(oracle=oracle, other=candidate)
    floors = StoredFloors(stored_floors(golden, oracle.contract, made.dtype))
    runs = Runs(free=candidate, lockstep=None)
    judging = Judge(oracle=oracle, candidate=runs, floors=floors, allowed=ALLOWED, measure=estimated)
    steps = tuple(_attributed(judging.verdicts()))
    return Judgement(
        candidate=name,
        dtype=made.dtype,
        scenario=golden.manifest.name,
        steps=steps,
        tokens=tuple(_tokens(golden, candidate, oracle.contract.logits)),
        allowed=ALLOWED,
        versions=tuple(made.versions.items()),
        returned=tuple(made.returned.items()),
        values=values(oracle, steps),
    )


def require_floors(golden: Golden, dtype: str) -> None:
    """Refuse an arithmetic that the golden was not measured in.

    Raises:
        UsageError: naming those that it was.
    """
    if dtype not in golden.manifest.dtypes:
        known = ", ".join(golden.manifest.dtypes)
        raise UsageError(f"golden {golden.manifest.name} has no floors of {dtype}; it has those of {known}")


def estimated(key: Key, *, oracle: Trace, candidate: Trace) -> Error:
    """The error of a step from folded sketches, padding left out."""
    true, value = oracle.statistics(key), statistics_without_padding(candidate, key, oracle.contract.axes)
    samples = layout_of(key, oracle).samples
    exact = kind_of(oracle.records[key].dtype) != "float"
    error = distance(oracle=true.sketch, candidate=folded(value.sketch), exact=exact)
    norm = max(true.norm, math.sqrt(typical_power(oracle)[key] * samples))
    relative = 0.0 if error == 0.0 else error / norm if norm else math.inf
    broken = abs(value.nan_count - true.nan_count) + abs(value.inf_count - true.inf_count)
    return Error.whole(relative, nonfinite=broken, samples=samples)


def _attributed(verdicts: Iterator[StepVerdict]) -> Iterator[StepVerdict]:
    """The first divergence as it is; what diverges behind it may all stem from it. A wrong shape cannot."""
    found = False
    for verdict in verdicts:
        if found and verdict.status in (Status.INHERITED, Status.NONFINITE):
            yield replace(verdict, status=Status.INHERITED, note=verdict.note or BEHIND_FIRST)
        elif verdict.status is Status.INHERITED:
            found = True
            yield replace(verdict, status=Status.INTRODUCED)
        else:
            found = found or verdict.status.diverged
            yield verdict


def _tokens(golden: Golden, candidate: Trace, logits: str) -> Iterator[TokenVerdict]:
    place = golden.manifest.dtypes.index(candidate.manifest.dtype)
    said = {chunk.phase: _ids(candidate, chunk.phase, logits) for chunk in golden.manifest.chunks}
    for choice in golden.choices:
        ids = said[choice.phase]
        if ids is None or choice.row >= ids.shape[0] or choice.token >= ids.shape[1]:
            continue  # the step's own verdict says why
        found = int(ids[choice.row, choice.token])
        # each of the two logits may err by K times the baseline's error, towards the other
        noise = 2 * ALLOWED * choice.noise[place]
        yield TokenVerdict(
            phase=choice.phase,
            row=choice.row,
            token=choice.token,
            oracle=choice.id,
            candidate=found,
            margin=choice.margin,
            noise=noise,
        )


def _ids(candidate: Trace, phase: str, step: str) -> NDArray[np.int64] | None:
    """The chosen tokens, ``[batch, token]``; None where the candidate has no such logits."""
    logits = logits_of(candidate, phase, step)
    return None if logits is None or logits.ndim != 3 else greedy_ids(logits)
