"""Generic causes that are another formula of an earlier step: another function of each value, another statistic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from parity.diagnosis.earlier import Earlier, Value
from parity.diagnosis.evidence import Evidence, flat
from parity.diagnosis.hypothesis import Hypothesis
from parity.traces.measure import Float

ARGUMENTS = 6
"""Of the steps of the same shape so many are tried as the argument of a function."""
TRIED_FIRST = 4096
"""A function is tried on so many values first."""
PROMISING = 0.1
"""What leaves more of the sample's error is not tried on all values."""

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: Float) -> Float:
    half: Float = 0.5 * (1 + np.tanh(0.5 * x))
    return half


def _gelu(x: Float) -> Float:
    """The tanh form."""
    value: Float = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return value


FUNCTIONS: dict[str, Callable[[Float], Float]] = {
    "ReLU": lambda x: np.maximum(x, 0),
    "tanh-form GELU": _gelu,
    "exact GELU": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "sigmoid GELU": lambda x: x * _sigmoid(1.702 * x),
    "SiLU": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "sine": np.sin,
    "softplus": lambda x: np.logaddexp(0, x),
    "exponential": np.exp,
    "square": np.square,
    "magnitude": np.abs,
    "square root": lambda x: np.sqrt(np.abs(x)),
    "squared ReLU": lambda x: np.square(np.maximum(x, 0)),
    "leaky ReLU": lambda x: np.where(x > 0, x, 0.01 * x),
    "ELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
}
"""What ports take for one another, each of one value."""

STATISTICS: dict[str, Callable[[Float, int], Float]] = {
    "mean": lambda x, axis: x.mean(axis, keepdims=True),
    "mean magnitude": lambda x, axis: np.abs(x).mean(axis, keepdims=True),
    "mean of squares": lambda x, axis: np.square(x).mean(axis, keepdims=True),
    "root mean square": lambda x, axis: np.sqrt(np.square(x).mean(axis, keepdims=True)),
    "standard deviation": lambda x, axis: x.std(axis, keepdims=True),
    "standard deviation with n - 1": lambda x, axis: x.std(axis, keepdims=True, ddof=1),
    "variance": lambda x, axis: x.var(axis, keepdims=True),
    "mean magnitude around the mean": lambda x, axis: np.abs(x - x.mean(axis, keepdims=True)).mean(axis, keepdims=True),
    "sum": lambda x, axis: x.sum(axis, keepdims=True),
    "norm": lambda x, axis: np.sqrt(np.square(x).sum(axis, keepdims=True)),
    "median": lambda x, axis: np.median(x, axis, keepdims=True),
    "maximum": lambda x, axis: x.max(axis, keepdims=True),
    "minimum": lambda x, axis: x.min(axis, keepdims=True),
    "largest magnitude": lambda x, axis: np.abs(x).max(axis, keepdims=True),
}
"""What ports take for one another, each of all values along an axis."""


def formulas(evidence: Evidence, earlier: Earlier) -> Iterator[Hypothesis]:
    """Each function of each step not long before, and of the step itself; each statistic where the step is one."""
    yield from _functions(evidence, earlier)
    yield from _statistics(evidence, earlier)


def _functions(evidence: Evidence, earlier: Earlier) -> Iterator[Hypothesis]:
    true = flat(piece.oracle for piece in evidence.pieces)
    counted = flat(piece.counted.astype(np.float64) for piece in evidence.pieces) > 0
    sample = np.flatnonzero(counted)[:: max(1, np.count_nonzero(counted) // TRIED_FIRST)]
    energy = float(np.square(evidence.error[sample]).sum())
    made = (true + evidence.error)[sample]
    itself = Value("itself", tuple(piece.oracle for piece in evidence.pieces))
    for value in (*earlier.same[:ARGUMENTS], itself, *_differences(earlier)):
        argument = value.on(evidence)
        yield from _minimum(value.name, argument, true)
        for name, function in FUNCTIONS.items():
            with np.errstate(all="ignore"):
                if not float(np.square(function(argument[sample]) - made).sum()) < PROMISING * energy:
                    continue
                effect = np.where(counted, function(argument) - true, 0.0)
            yield Hypothesis(f"{name} of {value.name}", effect, f"the value is the {name} of {value.name}")


def _minimum(name: str, argument: Float, true: Float) -> Iterator[Hypothesis]:
    """Where the step is the larger of another and a bound, the smaller of the two."""
    bound = float(true.min(initial=0.0))
    if np.count_nonzero(true == bound) > 1 and np.allclose(true, np.maximum(argument, bound), rtol=1e-9, atol=1e-12):
        said = f"the minimum of {name} and a bound, where the maximum should be"
        yield Hypothesis("minimum", np.minimum(argument, bound) - true, said)


def _differences(earlier: Earlier) -> Iterator[Value]:
    """A step of the same shape less one that has one value for each row of it, as a mean or a cutoff."""
    for name in earlier.names[:ARGUMENTS]:
        for value in earlier.same[:2]:
            shape = value.tensors[0].shape
            if not shape or shape[-1] == 1 or earlier.shape(name) != (*shape[:-1], 1):
                continue
            if earlier.kind(name) == "float" and (rows := earlier.tensors(name)) is not None:
                pairs = zip(value.tensors, rows, strict=True)
                yield Value(f"{value.name} - {name}", tuple(tensor - row for tensor, row in pairs))


def _statistics(evidence: Evidence, earlier: Earlier) -> Iterator[Hypothesis]:
    shape = evidence.pieces[0].oracle.shape
    true = flat(piece.oracle for piece in evidence.pieces)
    if not shape or shape[-1] != 1:
        return
    for name in earlier.names:
        if (wide := earlier.shape(name))[:-1] != shape[:-1] or wide[-1:] == (1,) or earlier.kind(name) != "float":
            continue
        if (tensors := earlier.tensors(name)) is None:
            continue
        for said, statistic in STATISTICS.items():
            value = Value(said, tuple(statistic(tensor, -1) for tensor in tensors))
            yield Hypothesis(
                f"{said} of {name}",
                value.on(evidence) - true,
                f"the value is the {said} of {name}, along its last axis",
            )
