"""The error of one tensor against the oracle's: as a whole, and of its worst place, part and channel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from parity.axes import Layout, Where
from parity.dtypes import COARSE, as_float64, unit_roundoff
from parity.scale import WIDTH, layout_of, typical_power
from parity.scenario import Scenario
from parity.sketch import relative_error
from parity.trace import Key, Trace

Float = NDArray[np.float64]
Look = Literal["tensor", "place", "part", "channel"]
LOOKS: tuple[Look, ...] = get_args(Look)
"""What an error is taken of: of all together, or of the worst of what the tensor's axes tell apart."""
FINE: tuple[Look, ...] = ("tensor", "place")
"""What suffices in a fine arithmetic: diluted by a hundred parts or channels, a fault is still beyond its rounding."""


@dataclass(frozen=True)
class View:
    """An error as one look shows it.

    Attributes:
        look: what it is of.
        error: relative, in L2.
        where: the worst place, part or channel; empty for the whole tensor.
    """

    look: Look
    error: float
    where: Where = ()


@dataclass(frozen=True)
class Error:
    """How far a tensor is from the oracle's.

    Attributes:
        views: the whole tensor's, and those of the worst place, part and channel that were looked at. Each is
            ``|candidate - oracle| / |oracle|`` over the valid elements that it is of; where the oracle is smaller than
            typical (`parity.scale`), over the typical norm of as many.
        nonfinite: elements that are NaN or infinite on one side only.
        samples: how much the error rests on: places, or elements where the tensor has no places.
    """

    views: tuple[View, ...]
    nonfinite: int = 0
    samples: int = 0

    @classmethod
    def whole(cls, relative: float, *, nonfinite: int = 0, samples: int = 0) -> Error:
        """An error of which nothing but its size over the whole tensor is known."""
        return cls((View("tensor", relative),), nonfinite, samples)

    @property
    def relative(self) -> float:
        """Of the whole tensor."""
        return self.views[0].error


@dataclass(frozen=True)
class Scale:
    """What the errors of one step are measured with.

    Attributes:
        layout: of its tensor.
        valid: broadcastable to the shape; leaves out padding. None where there is none.
        typical: least power of a place (of an element, where there are none) that errors are held against; 0 for the
            mean of the tensor itself.
        looks: what is looked at.
    """

    layout: Layout
    valid: NDArray[np.bool_] | None = None
    typical: float = 0.0
    looks: tuple[Look, ...] = FINE

    @classmethod
    def of(cls, key: Key, *, oracle: Trace, dtype: str) -> Scale:
        """For a step of a party that computes in that arithmetic."""
        layout = layout_of(key, oracle)
        looks = LOOKS if unit_roundoff(dtype) >= COARSE else FINE
        return cls(layout, validity(layout, oracle.scenario, key.phase), typical_power(oracle)[key], looks)

    def kept(self, look: Look) -> tuple[int, ...] | None:
        """The axes that tell apart what is looked at; None where there is nothing to tell apart."""
        layout = self.layout
        if look == "tensor":
            return ()
        if look == "place":
            return layout.places if layout.places and layout.width >= WIDTH else None
        if look == "part":
            return layout.parts or None
        return (*layout.parts, *layout.channels) if layout.channels else None

    def least(self, kept: tuple[int, ...], share: float) -> float:
        """The typical power of a group of elements, told apart by some axes, of which a share counts."""
        elements = math.prod(self.layout.shape) / self.layout.groups(kept)
        return self.typical / self.layout.width * elements * share


def error_of(key: Key, *, oracle: Trace, candidate: Trace) -> Error:
    """The candidate's error at one step, exact where both kept the tensor, else estimated from the sketches."""
    true, value = oracle.tensor(key), candidate.tensor(key)
    if true is None or value is None:
        return _estimated(key, oracle=oracle, candidate=candidate)
    scale = Scale.of(key, oracle=oracle, dtype=candidate.manifest.dtype)
    return exact(oracle=as_float64(true), candidate=as_float64(value), scale=scale)


def exact(*, oracle: Float, candidate: Float, scale: Scale) -> Error:
    """Compare two float64 arrays of one shape.

    Args:
        oracle: the true values.
        candidate: what is judged.
        scale: what it is measured with.
    """
    difference = candidate - oracle
    if scale.valid is not None or not np.isfinite(np.vdot(difference, difference) + np.vdot(oracle, oracle)):
        return _exact_where(oracle, candidate, scale)  # rare, and much slower
    return Error(tuple(_views(difference, oracle, scale)), samples=scale.layout.samples)


def _exact_where(oracle: Float, candidate: Float, scale: Scale) -> Error:
    """Compare the elements that are real tokens' and finite on both sides; count those that are so on one only."""
    finite = np.isfinite(oracle) & np.isfinite(candidate)
    agree = finite | (np.isnan(oracle) & np.isnan(candidate)) | (oracle == candidate)
    counted = finite if scale.valid is None else finite & scale.valid
    broken = ~agree if scale.valid is None else ~agree & scale.valid
    true = np.where(counted, oracle, 0.0)
    difference = np.where(counted, candidate, 0.0) - true
    views = tuple(_views(difference, true, scale, share=float(counted.mean())))
    return Error(views, int(np.count_nonzero(broken)), scale.layout.samples)


def validity(layout: Layout, scenario: Scenario, phase: str) -> NDArray[np.bool_] | None:
    """Which elements stem from real tokens, broadcastable to the tensor's shape; None when all do."""
    if not any(scenario.padding) or layout.rows is None:
        return None
    valid = np.ones((1,) * len(layout.shape), dtype=bool)
    for at in layout.sequence:
        rows = scenario.valid(phase, layout.shape[at])
        form = [1] * len(layout.shape)
        form[layout.rows], form[at] = rows.shape
        rows = rows if layout.rows < at else rows.T
        valid = valid & rows.reshape(form)
    return valid


def _views(difference: Float, true: Float, scale: Scale, share: float = 1.0) -> Iterator[View]:
    """All that is looked at; `share` of the elements count."""
    for look in scale.looks:
        kept = scale.kept(look)
        if kept is not None and scale.layout.groups(kept):
            least = scale.least(kept, 1.0 if look == "place" else share)  # a place counts, or does not
            error, group = _largest(scale.layout.energy(difference, kept), scale.layout.energy(true, kept), least)
            yield View(look, error, scale.layout.where(kept, group))


def _largest(squared: Float, power: Float, least: float) -> tuple[float, int]:
    """The largest relative error of a group of elements, and whose; one of small power is held to a typical one's.

    An error where all is zero is infinite.
    """
    base = np.maximum(power, least or power.mean())
    errors = np.divide(squared, base, out=np.where(squared > 0.0, np.inf, 0.0), where=base > 0.0)
    group = int(errors.argmax())
    return math.sqrt(errors.flat[group]), group


def _estimated(key: Key, *, oracle: Trace, candidate: Trace) -> Error:
    """Error from the sketches; NaN, which is never within a floor, where a writer gave no sketch."""
    true, value = oracle.statistics(key), candidate.statistics(key)
    if not (true.sketch and value.sketch):
        return Error.whole(float("nan"))
    samples = layout_of(key, oracle).samples
    norm = max(true.norm, math.sqrt(typical_power(oracle)[key] * samples))
    estimate = relative_error(oracle_sketch=true.sketch, candidate_sketch=value.sketch, oracle_norm=norm)
    broken = abs(value.nan_count - true.nan_count) + abs(value.inf_count - true.inf_count)
    return Error.whole(estimate, nonfinite=broken, samples=samples)
