"""Generic causes of a norm's gain: another layer's, none at all, 1 too small or too large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from parity.diagnosis.earlier import Earlier
from parity.diagnosis.evidence import Evidence
from parity.diagnosis.hypothesis import Hypothesis
from parity.diagnosis.norms import Norm, back, stacked
from parity.traces.measure import Float

PROMISING = 0.1
"""Where a gain of any kind leaves more of the error, the gain is not what is wrong."""


def gains(evidence: Evidence, earlier: Earlier, found: Iterable[Norm]) -> Iterator[Hypothesis]:
    """For each norm that the step is, what its gain may be instead."""
    for norm in found:
        wrong = norm.true + norm.error
        made = gain_of(norm.given, wrong)
        if np.square(wrong - norm.given * made).sum() > PROMISING * np.square(norm.error).sum():
            continue
        known = gain_of(norm.given, norm.true)
        for name, says, gain in (*_plain(known), *_of_others(evidence, earlier, norm)):
            yield Hypothesis(name, back(evidence, norm.axis, norm.given * (gain - known)), says)


def gain_of(given: Float, made: Float) -> Float:
    """The factor of each column by which normed rows become what a norm makes of them."""
    power = np.square(given).sum(0)
    gain: Float = np.divide((given * made).sum(0), power, out=np.zeros_like(power), where=power > 0)
    return gain


def _plain(gain: Float) -> Iterator[tuple[str, str, Float]]:
    yield "gain-none", "the norm has no gain", np.ones_like(gain)
    yield "gain-less-one", "the norm's gain is 1 too small: 1 is to be added to the weight", gain - 1
    yield "gain-plus-one", "the norm's gain is 1 too large: 1 is added to the weight, or twice", gain + 1


def _of_others(evidence: Evidence, earlier: Earlier, own: Norm) -> Iterator[tuple[str, str, Float]]:
    """The gains of the same norm in other layers, each of which norms the same step of its own."""
    alike, given = earlier.like(earlier.step), earlier.like(own.name)
    if len(alike) != len(given):
        return
    for name, source in zip(alike, given, strict=True):
        tensors = [_fitting(evidence, earlier.tensors(step)) for step in (name, source)]
        if None in tensors:
            continue
        made, normed = (stacked(evidence, own.axis, each) for each in tensors if each is not None)
        power = np.square(normed).mean(1, keepdims=True) + own.epsilon
        factors = 1 / np.sqrt(np.maximum(power, np.finfo(float).tiny))
        yield "gain-other", f"the norm's gain is that of {name}", gain_of(normed * factors, made)


def _fitting(evidence: Evidence, tensors: tuple[Float, ...] | None) -> tuple[Float, ...] | None:
    """A step's tensors where they have the evidence's shapes."""
    shapes = [piece.oracle.shape for piece in evidence.pieces]
    return tensors if tensors is not None and [x.shape for x in tensors] == shapes else None
