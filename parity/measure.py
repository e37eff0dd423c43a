"""The error of one tensor against the oracle's: as a whole and token by token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parity.dtypes import as_float64
from parity.scenario import Scenario
from parity.sketch import relative_error
from parity.trace import Key, Trace

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Error:
    """How far a tensor is from the oracle's.

    Attributes:
        relative: ``|candidate - oracle| / |oracle|`` in L2 over all valid elements.
        tokens: the same for each token, ``[batch, token]``, NaN at padding; None for tensors without tokens, or where
            only sketches were kept.
        largest: largest absolute difference of an element; None where only sketches were kept.
        nonfinite: elements that are NaN or infinite on one side only.
    """

    relative: float
    tokens: Float | None = None
    largest: float | None = None
    nonfinite: int = 0

    @property
    def worst_token(self) -> tuple[int, int] | None:
        """Batch row and token of the largest error."""
        if self.tokens is None or not self.tokens.size or np.isnan(self.tokens).all():
            return None
        row, token = np.unravel_index(np.nanargmax(self.tokens), self.tokens.shape)
        return int(row), int(token)

    @property
    def worst(self) -> float:
        """Error of the worst token, or zero for tensors without tokens."""
        at = self.worst_token
        return 0.0 if at is None or self.tokens is None else float(self.tokens[at])


def error_of(key: Key, *, oracle: Trace, candidate: Trace) -> Error:
    """The candidate's error at one step, exact where both kept the tensor, else estimated from the sketches."""
    true, value = oracle.tensor(key), candidate.tensor(key)
    if true is None or value is None:
        return _estimated(key, oracle=oracle, candidate=candidate)
    axes = tuple(oracle.records[key].axes)
    valid = validity(axes, true.shape, oracle.scenario, key.phase)
    return exact(oracle=as_float64(true), candidate=as_float64(value), axes=axes, valid=valid)


def exact(*, oracle: Float, candidate: Float, axes: tuple[str, ...], valid: NDArray[np.bool_] | None = None) -> Error:
    """Compare two float64 arrays of one shape; `valid` (broadcastable to it) leaves out padding."""
    finite = np.isfinite(oracle) & np.isfinite(candidate)
    agree = finite | (np.isnan(oracle) & np.isnan(candidate)) | (oracle == candidate)
    counted = finite if valid is None else finite & valid
    broken = ~agree if valid is None else ~agree & valid
    true = np.where(counted, oracle, 0.0)
    difference = np.where(counted, candidate, 0.0) - true
    return Error(
        relative=_ratio(np.sum(difference**2), np.sum(true**2)),
        tokens=_tokens(difference, true, axes, valid),
        largest=float(np.max(np.abs(difference), initial=0.0)),
        nonfinite=int(np.count_nonzero(broken)),
    )


def validity(
    axes: tuple[str, ...], shape: tuple[int, ...], scenario: Scenario, phase: str
) -> NDArray[np.bool_] | None:
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


def _tokens(difference: Float, true: Float, axes: tuple[str, ...], valid: NDArray[np.bool_] | None) -> Float | None:
    """Relative error per token; a token whose true value is zero is measured against the typical token."""
    if "batch" not in axes or "token" not in axes or len(axes) != true.ndim:
        return None
    others = tuple(i for i, axis in enumerate(axes) if axis not in ("batch", "token"))
    squared, power = np.sum(difference**2, axis=others), np.sum(true**2, axis=others)
    if axes.index("batch") > axes.index("token"):
        squared, power = squared.T, power.T
    typical = np.mean(power) if power.size else 0.0
    scale = np.where(power > 0, power, typical if typical > 0 else 1.0)
    errors = np.sqrt(squared / scale)
    if valid is not None:
        real = np.broadcast_to(valid, true.shape).any(axis=others)
        errors[~(real if axes.index("batch") < axes.index("token") else real.T)] = np.nan
    return np.asarray(errors)


def _ratio(squared: float, power: float) -> float:
    """Square root of a quotient; an error where the truth is all zero is infinite."""
    if squared == 0.0:
        return 0.0
    return float(np.sqrt(squared / power)) if power > 0.0 else float("inf")


def _estimated(key: Key, *, oracle: Trace, candidate: Trace) -> Error:
    """Error from the sketches; NaN, which is never within a floor, where a writer gave no sketch."""
    true, value = oracle.statistics(key), candidate.statistics(key)
    if not (true.sketch and value.sketch):
        return Error(relative=float("nan"))
    estimate = relative_error(oracle_sketch=true.sketch, candidate_sketch=value.sketch, oracle_norm=true.norm)
    broken = abs(value.nan_count - true.nan_count) + abs(value.inf_count - true.inf_count)
    return Error(relative=estimate, nonfinite=broken)
