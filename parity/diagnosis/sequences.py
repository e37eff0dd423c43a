"""Names what is wrong with values of another number: the known bug that makes just these, and how integers differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.diagnosis.matched import Filter
from parity.judging.cause import Cause, Diagnosis
from parity.judging.judgement import Judgement
from parity.judging.verdict import Status, StepVerdict
from parity.traces.trace import Trace

CHANGES, SHOWN = 3, 4
"""So many differences are told, and of each so many values."""
RANK = 2
"""Dimensions of ``[batch, token]``."""


def sequences(judgement: Judgement, *, oracle: Trace, lockstep: Trace, variants: Filter | None) -> Iterator[Diagnosis]:
    """A diagnosis of each step of another shape than the oracle's: ids ``[batch, token]``, or what is no integer.

    What was resampled to another rate, or not at all, has another number of samples.
    """
    for step in judgement.introduced:
        known = oracle.contract.get(step.step)
        if step.status is not Status.CONTRACT or known is None:
            continue
        true, made = (run.tensor(step.key) if step.key in run.records else None for run in (oracle, lockstep))
        if true is None or made is None or true.shape == made.shape:
            continue
        if known.kind != "integer" or (true.ndim == made.ndim == RANK and len(true) == len(made)):
            yield _diagnosis(step, oracle, variants, true=true, made=made)


def _diagnosis(
    step: StepVerdict, oracle: Trace, variants: Filter | None, *, true: NDArray[Any], made: NDArray[Any]
) -> Diagnosis:
    same = list(variants.same(made, step.key, oracle)) if variants else []
    integers = np.issubdtype(made.dtype, np.integer)
    alike = tuple(bug.name for bug in same[1:])
    return Diagnosis(
        step=step.step,
        steps=(step.step,),
        phases=(step.phase,),
        values=made.size,
        noise=0.0,
        causes=tuple(
            Cause(
                name=bug.name,
                meaning=bug.meaning,
                alpha=1.0,
                explained=1.0,
                variant=True,
                source=bug.source,
                alike=alike,
            )
            for bug in same[:1]
        ),
        where=difference(true=true, made=made) if integers else "",
    )


def difference(*, true: NDArray[Any], made: NDArray[Any]) -> str:
    """How rows of integers ``[batch, token]`` differ, e.g. ``1 value more at token 0 (2)``; empty where they do not."""
    rows = zip(true.tolist(), made.tolist(), strict=True)
    found = [text for row, pair in enumerate(rows) for text in _changes(row, *pair)]
    more = f" and {len(found) - CHANGES} more" if len(found) > CHANGES else ""
    return f"{', '.join(found[:CHANGES])}{more}"


def _changes(row: int, true: Sequence[int], made: Sequence[int]) -> Iterator[str]:
    where = f" of row {row}" if row else ""
    for kind, start, end, first, last in SequenceMatcher(None, true, made, autojunk=False).get_opcodes():
        lost, new = true[start:end], made[first:last]
        if kind == "insert":
            yield f"{_count(new)} more at token {first}{where} ({_shown(new)})"
        elif kind == "delete":
            yield f"{_count(lost)} less at token {first}{where} ({_shown(lost)})"
        elif kind == "replace":
            yield f"{_shown(new)} instead of {_shown(lost)} at token {first}{where}"


def _count(values: Sequence[int]) -> str:
    return f"{len(values)} value{'s' if len(values) != 1 else ''}"


def _shown(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:SHOWN])) + (", ..." if len(values) > SHOWN else "")
