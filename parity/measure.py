"""The error of one tensor against the oracle's: as a whole and token by token."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.dtypes import as_float64
from parity.scale import WIDTH, samples, typical_power
from parity.scenario import Scenario
from parity.sketch import relative_error
from parity.trace import Key, Trace

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Error:
    """How far a tensor is from the oracle's.

    Attributes:
        relative: ``|candidate - oracle| / |oracle|`` in L2 over all valid elements; where the oracle is smaller than
            typical (`parity.scale`), over its typical norm.
        worst: the same for the worst token alone; zero for tensors without tokens or with fewer than `WIDTH` elements
            a token, and where only sketches were kept.
        worst_token: batch row and token of it.
        beyond: of values that are rounded to levels (`parity.contract.Step.quantum`), `relative` of what more than one
            level explains; None for others, and where only sketches were kept.
        nonfinite: elements that are NaN or infinite on one side only.
        samples: how much the error rests on: tokens, or elements where the tensor has no tokens.
    """

    relative: float
    worst: float = 0.0
    worst_token: tuple[int, int] | None = None
    beyond: float | None = None
    nonfinite: int = 0
    samples: int = 0


def error_of(key: Key, *, oracle: Trace, candidate: Trace) -> Error:
    """The candidate's error at one step, exact where both kept the tensor, else estimated from the sketches."""
    true, value = oracle.tensor(key), candidate.tensor(key)
    if true is None or value is None:
        return _estimated(key, oracle=oracle, candidate=candidate)
    axes = tuple(oracle.records[key].axes)
    valid = validity(axes, true.shape, oracle.scenario, key.phase)
    typical = typical_power(oracle)[key]
    step = oracle.contract.get(key.step)
    measure = measured_by(step.quantum if step else 0.0)
    return measure(oracle=as_float64(true), candidate=as_float64(value), axes=axes, valid=valid, typical=typical)


def exact(
    *,
    oracle: Float,
    candidate: Float,
    axes: tuple[str, ...],
    valid: NDArray[np.bool_] | None = None,
    typical: float = 0.0,
) -> Error:
    """Compare two float64 arrays of one shape.

    Args:
        oracle: the true values.
        candidate: what is judged.
        axes: of both; none or unknown ones only cost the view of single tokens.
        valid: broadcastable to the shape; leaves out padding.
        typical: least power of a token that errors are held against.
    """
    difference = candidate - oracle
    squared, power = float(np.vdot(difference, difference)), float(np.vdot(oracle, oracle))
    if valid is not None or not np.isfinite(squared + power):  # rare, and much slower
        return _exact_where(oracle, candidate, axes, valid, typical)
    tokens = samples(axes, oracle.shape)
    worst = _worst(difference, oracle, axes, None, typical)
    return Error(_ratio(squared, max(power, typical * tokens)), *worst, samples=tokens)


def measured_by(quantum: float) -> Callable[..., Error]:
    """`exact` for a step of that quantum (`parity.contract.Step.quantum`)."""
    return partial(_of_levels, quantum) if quantum else exact


def _of_levels(quantum: float, *, oracle: Float, candidate: Float, **given: Any) -> Error:
    """`exact` for values that are rounded to levels: worst token and `beyond` leave out a level more or less."""
    levels = np.clip(np.rint((candidate - oracle) / quantum), -1, 1)
    near = exact(oracle=oracle, candidate=candidate - quantum * levels, **given)
    whole = exact(oracle=oracle, candidate=candidate, **given)
    return replace(near, relative=whole.relative, beyond=near.relative)


def _exact_where(
    oracle: Float, candidate: Float, axes: tuple[str, ...], valid: NDArray[np.bool_] | None, typical: float
) -> Error:
    """Compare the elements that are real tokens' and finite on both sides; count those that are so on one only."""
    finite = np.isfinite(oracle) & np.isfinite(candidate)
    agree = finite | (np.isnan(oracle) & np.isnan(candidate)) | (oracle == candidate)
    counted = finite if valid is None else finite & valid
    broken = ~agree if valid is None else ~agree & valid
    true = np.where(counted, oracle, 0.0)
    difference = np.where(counted, candidate, 0.0) - true
    tokens = samples(axes, oracle.shape)
    power = max(float(np.vdot(true, true)), typical * tokens * float(counted.mean()))
    return Error(
        _ratio(float(np.vdot(difference, difference)), power),
        *_worst(difference, true, axes, valid, typical),
        nonfinite=int(np.count_nonzero(broken)),
        samples=tokens,
    )


def validity(axes: tuple[str, ...], shape: tuple[int, ...], scenario: Scenario, phase: str) -> NDArray[np.bool_] | None:
    """Which elements stem from real tokens, broadcastable to `shape`; None when all do."""
    if not any(scenario.padding) or "batch" not in axes or len(axes) != len(shape):
        return None
    valid = np.ones((1,) * len(axes), dtype=bool)
    for axis in {"token", "key"} & set(axes):
        at = axes.index(axis)
        rows = scenario.valid(phase, shape[at])
        form = [1] * len(axes)
        form[axes.index("batch")], form[at] = rows.shape
        rows = rows if axes.index("batch") < at else rows.T
        valid = valid & rows.reshape(form)
    return valid


def _worst(
    difference: Float, true: Float, axes: tuple[str, ...], valid: NDArray[np.bool_] | None, typical: float
) -> tuple[float, tuple[int, int] | None]:
    """Largest relative error of a token, and whose; a token whose true value is small is held to the typical token."""
    if "batch" not in axes or "token" not in axes or len(axes) != true.ndim:
        return 0.0, None
    if true.size < WIDTH * max(1, samples(axes, true.shape)):
        return 0.0, None
    wrong, right = _by_token(difference, axes), _by_token(true, axes)
    squared, power = np.vecdot(wrong, wrong), np.vecdot(right, right)
    if valid is not None:
        squared = squared * _by_token(np.broadcast_to(valid, true.shape), axes).any(axis=-1)
    errors = squared / (np.maximum(power, typical or power.mean()) + math.ulp(0.0))  # where all is zero, 0 / tiny
    at = int(errors.argmax())
    return math.sqrt(errors.flat[at]), divmod(at, errors.shape[1])


def _by_token(values: NDArray[Any], axes: tuple[str, ...]) -> NDArray[Any]:
    """``[batch, token, element]``: what stands at each token."""
    batch, token = axes.index("batch"), axes.index("token")
    others = (axis for axis in range(len(axes)) if axis not in (batch, token))
    return values.transpose(batch, token, *others).reshape(values.shape[batch], values.shape[token], -1)


def _ratio(squared: float, power: float) -> float:
    """Square root of a quotient; an error where the truth is all zero is infinite."""
    if squared == 0.0:
        return 0.0
    return float(np.sqrt(squared / power)) if power > 0.0 else float("inf")


def _estimated(key: Key, *, oracle: Trace, candidate: Trace) -> Error:
    """Error from the sketches; NaN, which is never within a floor, where a writer gave no sketch."""
    true, value = oracle.statistics(key), candidate.statistics(key)
    if not (true.sketch and value.sketch):
        return Error(float("nan"))
    record = oracle.records[key]
    tokens = samples(record.axes, record.shape)
    norm = max(true.norm, math.sqrt(typical_power(oracle)[key] * tokens))
    estimate = relative_error(oracle_sketch=true.sketch, candidate_sketch=value.sketch, oracle_norm=norm)
    broken = abs(value.nan_count - true.nan_count) + abs(value.inf_count - true.inf_count)
    return Error(relative=estimate, nonfinite=broken, samples=tokens)
