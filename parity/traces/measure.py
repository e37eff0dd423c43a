"""The error of one tensor against the oracle's: as a whole, and of its worst place, part and channel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.axes import LOOKS, Layout, Look, Where
from parity.dtypes import COARSE, as_float64, name_of, unit_roundoff
from parity.scenario import Scenario
from parity.traces.scale import WIDTH, layout_of, typical_power
from parity.traces.sketch import relative_error
from parity.traces.trace import Key, Trace

Float = NDArray[np.float64]
COARSELY: tuple[Look, ...] = ("part", "channel")
"""Worth a look in a coarse arithmetic; in a fine one a fault is beyond its rounding, diluted by a hundred others."""


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
            typical (`parity.traces.scale`), over the typical norm of as many.
        nonfinite: elements that are NaN or infinite on one side only.
        samples: how much the error rests on: places, or elements where the tensor has no places.
    """

    views: tuple[View, ...]
    nonfinite: int = 0
    samples: int = 0

    def times(self, factor: float) -> Error:
        """So many times this error."""
        return replace(self, views=tuple(replace(view, error=view.error * factor) for view in self.views))

    @classmethod
    def whole(cls, relative: float, *, nonfinite: int = 0, samples: int = 0) -> Error:
        """An error of which nothing but its size over the whole tensor is known."""
        return cls((View("tensor", relative),), nonfinite, samples)

    @property
    def relative(self) -> float:
        """Of the whole tensor."""
        return self.views[0].error


@dataclass(frozen=True, eq=False)
class Scale:
    """What the errors of one step are measured with.

    Attributes:
        layout: of its tensor.
        looks: what is looked at.
        valid: broadcastable to the shape; leaves out padding. None where there is none.
        typical: least power of a place (of an element, where there are none) that errors are held against; 0 for the
            mean of the tensor itself.
        against: the powers that errors are held against, of each group of elements that is looked at.
        quantum: distance of the levels that values are rounded to, of which one more or less is no error; 0 for none.
    """

    layout: Layout
    looks: tuple[Look, ...]
    valid: NDArray[np.bool_] | None
    typical: float
    against: Mapping[Look, Float]
    quantum: float = 0.0

    @classmethod
    def of(cls, key: Key, true: Float, *, oracle: Trace, dtype: str) -> Scale:
        """For a step of a party that computes in that arithmetic; `true` is the oracle's tensor of it."""
        coarse = unit_roundoff(dtype) >= COARSE
        known = _scales(oracle)
        if (key, coarse) not in known:
            layout = layout_of(key, oracle)
            valid = validity(layout, oracle.scenario, key.phase)
            scale = cls.made(true, layout, valid, typical_power(oracle)[key], coarse=coarse)
            step = oracle.contract.get(key.step)
            known[key, coarse] = replace(scale, quantum=step.quantum if step else 0.0)
        return known[key, coarse]

    @classmethod
    def made(
        cls,
        true: Float,
        layout: Layout,
        valid: NDArray[np.bool_] | None = None,
        typical: float = 0.0,
        *,
        coarse: bool = False,
    ) -> Scale:
        """For errors of these values."""
        scale = cls(layout, _looks(layout, coarse=coarse), valid, typical, {})
        powers = scale.powers(true)
        if valid is None and np.isfinite(powers["tensor"]):
            return scale._held_to(powers, share=1.0)
        return scale.counting(np.isfinite(true) if valid is None else np.isfinite(true) & valid, true)

    def counting(self, counted: NDArray[np.bool_], true: Float) -> Scale:
        """Where only those elements count."""
        share = float(counted.mean()) if counted.size else 1.0
        return self._held_to(self.powers(np.where(counted, true, 0.0)), share)

    def powers(self, array: Float) -> dict[Look, Float]:
        """The squared norm of each group of elements that is looked at."""
        layout = self.layout
        by_place = layout.energy(array, layout.places)
        found: dict[Look, Float] = {"tensor": by_place.sum(), "place": by_place}
        if self.looks[-1] in COARSELY:
            by_unit = layout.energy(array, layout.units)
            channels = tuple(range(len(layout.parts), len(layout.units)))
            found |= {"part": by_unit.sum(axis=channels), "channel": by_unit}
        return found

    def _held_to(self, powers: Mapping[Look, Float], share: float) -> Scale:
        """Against these powers, but at least what is typical of so many elements, of which a share counts."""
        against = {}
        for look in self.looks:
            power = powers[look]
            # a place counts whole or not at all; where none is typical, the mean is
            elements = math.prod(self.layout.shape) / max(1, power.size) * (1.0 if look == "place" else share)
            against[look] = np.maximum(power, self.typical / self.layout.width * elements or power.mean())
        return replace(self, against=against)


def _looks(layout: Layout, *, coarse: bool) -> tuple[Look, ...]:
    """What can be told apart in a tensor, and is worth to be."""
    there = {
        "place": bool(layout.places) and layout.width >= WIDTH,
        "part": coarse and bool(layout.parts),
        "channel": coarse and bool(layout.channels),
    }
    return "tensor", *(look for look in LOOKS[1:] if there[look] and 0 not in layout.shape)


@lru_cache(maxsize=8)
def _scales(oracle: Trace) -> dict[tuple[Key, bool], Scale]:
    """What was made for an oracle: each of its steps is judged in four runs at least."""
    return {}


def error_of(key: Key, *, oracle: Trace, candidate: Trace) -> Error:
    """The candidate's error at one step, exact where both kept the tensor, else estimated from the sketches."""
    true, value = oracle.tensor(key), candidate.tensor(key)
    if true is None or value is None:
        return _estimated(key, oracle=oracle, candidate=candidate)
    return error_between(key, oracle=oracle, true=true, made=value, dtype=candidate.manifest.dtype)


def error_between(key: Key, *, oracle: Trace, true: NDArray[Any], made: NDArray[Any], dtype: str) -> Error:
    """The error of a tensor of that step, made in that arithmetic; both tensors have one shape."""
    exactly = as_float64(true)
    name_of(made)  # refuses what holds no real numbers
    return exact(oracle=exactly, candidate=made, scale=Scale.of(key, exactly, oracle=oracle, dtype=dtype))


def exact(*, oracle: Float, candidate: NDArray[Any], scale: Scale) -> Error:
    """Compare two arrays of one shape.

    Args:
        oracle: the true values, in float64.
        candidate: what is judged, in any format of real numbers.
        scale: of those true values.
    """
    if scale.quantum:
        candidate = oracle + beyond_a_level(as_float64(candidate) - oracle, scale.quantum)
    if scale.valid is None:
        # Without a copy of the candidate in float64: of a picture of 768 pixels that takes 150 MB.
        powers = scale.powers(np.subtract(candidate, oracle, dtype=np.float64))
        if np.isfinite(powers["tensor"]):
            return Error(_views(powers, scale), samples=scale.layout.samples)
    return _exact_where(oracle, as_float64(candidate), scale)  # rare, and much slower


def beyond_a_level(difference: Float, quantum: float) -> Float:
    """What is left of a difference between values that are rounded to levels, of which one more or less is right."""
    return difference - quantum * np.clip(np.rint(difference / quantum), -1, 1)


def _exact_where(oracle: Float, candidate: Float, scale: Scale) -> Error:
    """Compare the elements that are real tokens' and finite on both sides; count those that are so on one only."""
    finite = np.isfinite(oracle) & np.isfinite(candidate)
    agree = finite | (np.isnan(oracle) & np.isnan(candidate)) | (oracle == candidate)
    counted = finite if scale.valid is None else finite & scale.valid
    broken = ~agree if scale.valid is None else ~agree & scale.valid
    difference = np.where(counted, candidate, 0.0) - np.where(counted, oracle, 0.0)
    scale = scale.counting(counted, oracle)
    views = _views(scale.powers(difference), scale)
    return Error(views, int(np.count_nonzero(broken)), scale.layout.samples)


@np.errstate(over="ignore")
def _views(squared: Mapping[Look, Float], scale: Scale) -> tuple[View, ...]:
    """The largest relative error of each look; infinite where all is zero that it is held against."""
    found = []
    for look in scale.looks:
        errors = squared[look] / (scale.against[look] + math.ulp(0.0))  # 0 / tiny where both are zero
        worst = int(errors.argmax())
        where = scale.layout.where(scale.layout.kept(look), worst)
        found.append(View(look, math.sqrt(errors.flat[worst]), where))
    return tuple(found)


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
