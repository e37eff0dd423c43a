"""Names the cause of each introduced step, or says that it has none that is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from parity.diagnosis.earlier import Earlier
from parity.diagnosis.evidence import Evidence, Piece, collect
from parity.diagnosis.generic import generic
from parity.diagnosis.hypothesis import Fit, choose, convincing, fit
from parity.diagnosis.matched import Filter
from parity.diagnosis.sequences import RANK, difference, sequences
from parity.diagnosis.where import where
from parity.judging.cause import Diagnosis
from parity.judging.judgement import Judgement
from parity.judging.verdict import StepVerdict
from parity.traces.scale import family
from parity.traces.trace import Trace

DIAGNOSED = 24
"""So many steps of a judgement are diagnosed, `OF_A_FAMILY` of each family: a bug of all layers is seen in a few."""
OF_A_FAMILY = 3
WORST_PHASES = 4
"""Of a step that errs in more phases the worst are taken."""
NEAREST, NEAR = 3, 0.1
"""So many that are not convincing are told; what explains less than a tenth of an error is not near it."""

Steps = tuple[StepVerdict, ...]


def diagnose(
    judgement: Judgement, *, oracle: Trace, lockstep: Trace | None, variants: Filter | None
) -> tuple[Diagnosis, ...]:
    """Diagnose a judgement's introduced steps from the candidate's lockstep run."""
    if lockstep is None:
        return ()
    # first, for all that follows another number of ids is wrong, and runs of variants are counted
    ids = list(sequences(judgement, oracle=oracle, lockstep=lockstep, variants=variants))
    groups = _groups(judgement)
    if variants is not None:
        variants.prepare(_pieces(groups, oracle, lockstep), oracle)
    found = [(group, _diagnosis(group, oracle, lockstep, variants)) for group in groups]
    together = _together([group for group, said in found if said is not None and not said.causes])
    joint = [_diagnosis(group, oracle, lockstep, variants) for group in together]
    settled = {step for said in joint if said is not None and said.causes for step in said.steps}
    single = [said for _, said in found if said is not None and not settled & set(said.steps)]
    every = [*ids, *single, *(said for said in joint if said is not None and said.causes)]
    return tuple(sorted(every, key=lambda said: oracle.contract.order[said.step]))


def _pieces(groups: Sequence[Steps], oracle: Trace, lockstep: Trace) -> Iterator[tuple[Piece, ...]]:
    """What each group is diagnosed by."""
    for group in groups:
        if (evidence := collect(group, oracle=oracle, lockstep=lockstep)) is not None:
            yield evidence.pieces


def _groups(judgement: Judgement) -> list[Steps]:
    """The steps that are diagnosed, each with its phases."""
    steps: dict[str, list[StepVerdict]] = {}
    for step in judgement.introduced:
        if step.lockstep is not None:
            steps.setdefault(step.step, []).append(step)
    families: dict[str, list[str]] = {}
    for name in steps:
        families.setdefault(family(name), []).append(name)
    names = [name for alike in families.values() for name in alike[:OF_A_FAMILY]]
    chosen = sorted(names, key=lambda name: families[family(name)].index(name))[:DIAGNOSED]
    quiet = [step for step in judgement.steps if step.step in chosen and not step.status.origin and step.lockstep]
    return [_worst(steps[name], [step for step in quiet if step.step == name]) for name in steps if name in chosen]


def _worst(loud: Sequence[StepVerdict], quiet: Sequence[StepVerdict]) -> Steps:
    """The phases in which a step errs most, in their order, and the first in which it does not."""
    kept = sorted(loud, key=lambda step: -step.ratio)[:WORST_PHASES]
    return (*(step for step in loud if step in kept), *quiet[:1])


def _together(groups: Sequence[Steps]) -> Iterator[Steps]:
    """What no layer says alone, several layers may say together."""
    families: dict[str, list[Steps]] = {}
    for group in groups:
        families.setdefault(family(group[0].step), []).append(group)
    for alike in families.values():
        if len(alike) > 1:
            yield tuple(step for group in alike for step in group)


def _diagnosis(group: Steps, oracle: Trace, lockstep: Trace, variants: Filter | None) -> Diagnosis | None:
    if (evidence := collect(group, oracle=oracle, lockstep=lockstep)) is None:
        return None
    fits = _fits(evidence, oracle, variants)
    chosen = choose(evidence, fits)
    if chosen and variants:
        for each in (*chosen[0].hypotheses, *chosen[1]):
            if each.variant:
                variants.found(each.variant)
    return Diagnosis(
        step=group[0].step,
        steps=tuple(dict.fromkeys(piece.key.step for piece in evidence.pieces)),
        phases=tuple(dict.fromkeys(piece.key.phase for piece in evidence.loud.pieces)),
        values=evidence.loud.size,
        noise=evidence.noise,
        causes=chosen[0].causes(chosen[1]) if chosen else (),
        nearest=() if chosen else tuple(cause for found in _nearest(fits) for cause in found.causes()),
        tried=sum(each.hypotheses[0].variant is not None for each in fits),
        where=_where(evidence.loud, oracle),
    )


def _where(evidence: Evidence, oracle: Trace) -> str:
    """The places of an error; of rows of integers, how they differ."""
    piece, *more = evidence.pieces
    step = oracle.contract.get(piece.key.step)
    if more or step is None or step.kind != "integer" or piece.oracle.ndim != RANK:
        return where(evidence)
    return difference(true=piece.oracle.astype(np.int64), made=piece.candidate.astype(np.int64))


def _fits(evidence: Evidence, oracle: Trace, variants: Filter | None) -> list[Fit]:
    """All hypotheses, each alone. What leaves nothing ends it, if it was found before or is of a missing step."""
    fitted = generic(evidence.loud, Earlier(evidence.loud, oracle))
    fits = [fit(evidence, replace(each, effect=evidence.padded(each.effect))) for each in fitted]
    if variants is None:
        return fits
    for each in variants.effects(evidence, oracle):
        fits.append(fit(evidence, each))
        if convincing(evidence, fits[-1]) and (variants.knows(each.name) or variants.is_missing(each)):
            break
    return fits


def _nearest(fits: Sequence[Fit]) -> list[Fit]:
    near = (found for found in fits if found.explained >= NEAR and found.near)
    return sorted(near, key=lambda found: (-round(found.explained, 4), *found.rank))[:NEAREST]
