"""Weights drawn from a table of rules, the same bytes on every machine, a block of them at a time.

A tensor's values depend on the seed, its name, its shape and its rule alone: never on the order of tensors, on a
library's distributions (NumPy promises a stable stream of raw words, not of normals) or on measured activations.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]
EVEN: Final = np.uint64(0x0000FFFF0000FFFF)
BLOCK: Final = 2**15
"""Values that are drawn at a time: with few of them the arrays between stay in the cache."""


@dataclass(frozen=True)
class Uniform:
    """Uniform in [low, high): gains of norms and other scales, whose spread makes a permuted channel visible."""

    low: float
    high: float

    def values(self, raw: npt.NDArray[np.uint64], shape: Shape) -> npt.NDArray[np.float64]:
        """Map raw words to values; shape is not needed."""
        return self.low + (self.high - self.low) * ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53)


@dataclass(frozen=True)
class Bell:
    """Nearly normal with mean 0 and standard deviation `std`, or `gain / sqrt(fan_in)` where `fan_in` is set."""

    std: float
    fan_in: bool = False

    def values(self, raw: npt.NDArray[np.uint64], shape: Shape) -> npt.NDArray[np.float64]:
        """Sum the four 16-bit quarters of each word: exact in integers, so no mathematical library can differ."""
        halves = (raw & EVEN) + (raw >> np.uint64(16) & EVEN)  # two sums side by side, which cannot carry
        quarters = (halves & np.uint64(2**32 - 1)) + (halves >> np.uint64(32))
        centred = 2.0 * quarters - 4 * 65535
        unit: npt.NDArray[np.float64] = centred / math.sqrt(4 * (65536.0**2 - 1) / 3)
        return unit * (self.std / math.sqrt(math.prod(shape[1:])) if self.fan_in else self.std)


@dataclass(frozen=True)
class Rule:
    """What one kind of tensor is drawn from; `pattern` must match the whole name."""

    pattern: str
    draw: Uniform | Bell


def rule_of(name: str, rules: Iterable[Rule]) -> Rule:
    """Return the one rule for a tensor; a tensor with none or with several is an error in the table."""
    matching = [candidate for candidate in rules if re.fullmatch(candidate.pattern, name)]
    if len(matching) != 1:
        raise LookupError(f"{name}: {len(matching)} rules match, expected one; correct the table of rules")
    return matching[0]


def blocks(seed: str, name: str, shape: Shape, rule: Rule) -> Iterator[npt.NDArray[np.uint16]]:
    """Draw one tensor: the bit patterns of its bfloat16 values, in order."""
    key = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:16], "little")
    words, left = np.random.Philox(key=key), math.prod(shape)
    while left > 0:
        raw = words.random_raw(min(BLOCK, left)).astype("<u8")
        yield to_bfloat16(rule.draw.values(raw, shape))
        left -= len(raw)


def to_bfloat16(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """Round to float32, then to the nearest bfloat16 (ties to even); return the bits."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype("<u2")
