"""What an error is measured against: the true value, or, where that is next to nothing, the typical one.

A mean over channels, or a router's few outputs, can come near zero for one token by cancellation. Relative to that
value any arithmetic errs without bound, and how far is a matter of luck. So a step's power per token is taken as at
least the mean over all phases of the scenario; for a step of a few elements a token, over its whole family.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

from parity.trace import Key, Record, Trace

WIDTH = 64
"""Elements a token from which on a token speaks for itself: the ratio of errors of fewer has too heavy a tail."""

_INDEX = re.compile(r"\.\d+(?=\.|$)")


def family(step: str) -> str:
    """A step's name without its indices: the same computation in another layer or stream is of the same family."""
    return _INDEX.sub(".*", step)


def samples(axes: Sequence[str], shape: Sequence[int]) -> int:
    """Tokens of a tensor; its elements where it has none, or where its axes are unknown."""
    if "token" not in axes or len(axes) != len(shape):
        return math.prod(shape)
    return math.prod(size for axis, size in zip(axes, shape, strict=True) if axis in ("batch", "token"))


def is_wide(record: Record) -> bool:
    """Whether each token of a step has many elements; so counts a tensor without tokens."""
    return "token" not in record.axes or math.prod(record.shape) >= WIDTH * samples(record.axes, record.shape)


@lru_cache(maxsize=8)
def typical_power(oracle: Trace) -> dict[Key, float]:
    """Mean squared norm of a token (or mean square of an element, where there are no tokens) for each step."""
    power: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    for key, record in oracle.records.items():
        number = samples(record.axes, record.shape)
        power[_pool(key, record)] += record.rms**2 * math.prod(record.shape)
        count[_pool(key, record)] += number
    pools = {key: _pool(key, record) for key, record in oracle.records.items()}
    return {key: power[pool] / max(1, count[pool]) for key, pool in pools.items()}


def _pool(key: Key, record: Record) -> str:
    """Whose values are alike: a step's in all phases; of few elements a token, its family's."""
    return key.step if is_wide(record) else family(key.step)
