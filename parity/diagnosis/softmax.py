"""Generic causes inside a softmax: scores of another size, another axis, another mask, other queries, keys or values.

Attention is recognised by what it makes: a step that is ``softmax(q k^T x scale) v`` of earlier steps and of a mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from parity.diagnosis.earlier import Earlier
from parity.diagnosis.evidence import Evidence, Float, flat
from parity.diagnosis.hypothesis import Hypothesis
from parity.diagnosis.numerals import factor

TRUE = 1e-6
"""A step of the oracle is a formula of others where so little of it is left."""
QUERIES = 4
"""Of the steps of the context's shape so many are tried as its queries."""
ROWS = 48
"""Rows of queries on which a formula is tried before it is computed whole."""
PROMISING = 0.1
WIDEST, FINEST = 64.0, 1e-9
"""Scores are tried up to so many times as large, or as small; and told apart to this share."""

Mask = NDArray[np.bool_]
Weigh = Callable[[Float], Float]


@dataclass(frozen=True, eq=False)
class Attention:
    """One phase's inputs: queries ``[batch, token, head, channel]``, keys and values ``[batch, kv_head, key, channel]``.

    Attributes:
        mask: which keys a query sees, ``[batch, token, key]``; None for all.
        scale: of the scores.
    """

    queries: Float
    keys: Float
    values: Float
    mask: Mask | None
    scale: float

    def context(self, axis: int = -1) -> Float:
        """Values weighed by a softmax over the keys (or over another axis of ``batch, head, token, key``)."""
        groups = self.queries.shape[2] // self.keys.shape[1]
        keys, values = (np.repeat(x, groups, 1) for x in (self.keys, self.values))
        scores = np.einsum("bthc,bhkc->bhtk", self.queries, keys, optimize=True) * self.scale
        if self.mask is not None:
            scores = np.where(self.mask[:, None], scores, -np.inf)
        return np.einsum("bhtk,bhkc->bthc", softmax(scores, axis), values, optimize=True)

    def rows(self, kept: NDArray[np.int64]) -> Attention:
        """Some tokens' queries alone."""
        return replace(
            self, queries=self.queries[:, kept], mask=None if self.mask is None else self.mask[:, kept]
        )


def softmax(scores: Float, axis: int) -> Float:
    """Exponentials over their sum; zero where all are minus infinity."""
    highest = scores.max(axis, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(highest), highest, 0.0))
    total = weights.sum(axis, keepdims=True)
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)


def softmaxes(evidence: Evidence, earlier: Earlier) -> Iterator[Hypothesis]:
    """What a step that is a softmax, or attention, would be with one part of it wrong."""
    yield from _sharpened(evidence)
    if (found := _recognised(evidence, earlier)) is not None:
        yield from _attended(evidence, earlier, *found)


def _sharpened(evidence: Evidence) -> Iterator[Hypothesis]:
    """A softmax whose scores are so many times as large is that power of it, normed again; others are of other axes."""
    for axis in range(-1, -evidence.pieces[0].oracle.ndim - 1, -1):
        if not all(_sums_to_one(piece.oracle, axis) for piece in evidence.pieces):
            continue
        with np.errstate(divide="ignore"):
            logs = [np.log(piece.oracle) for piece in evidence.pieces]
        made = [piece.candidate for piece in evidence.pieces]

        def left(times: float, axis: int = axis, logs: Sequence[Float] = logs, made: Sequence[Float] = made) -> float:
            pairs = zip(logs, made, strict=True)
            return sum(float(np.square(softmax(_times(log, times), axis) - wrong).sum()) for log, wrong in pairs)

        best = _least(left)
        values = [softmax(_times(log, best), axis) for log in logs]
        yield _instead(evidence, "scores", f"the scores are multiplied by {factor(best)}", values, freedom=1)


def _times(logs: Float, times: float) -> Float:
    """A logarithm times a number; of zero it stays that of zero."""
    return np.where(np.isfinite(logs), logs * times, -np.inf)


def _sums_to_one(value: Float, axis: int) -> bool:
    total = value.sum(axis)
    live = total != 0
    return bool(value.shape[axis] > 1 and live.any() and (value >= 0).all() and np.allclose(total[live], 1, atol=1e-9))


def _recognised(evidence: Evidence, earlier: Earlier) -> tuple[list[Attention], dict[str, str]] | None:
    """The attention that a step is, phase by phase, and the names of its parts."""
    shape = evidence.pieces[0].oracle.shape
    if len(shape) != 4 or len(set(earlier.shape(name) for name in earlier.names)) == 0:
        return None
    stores = [name for name in earlier.names if _is_store(earlier.shape(name), shape)]
    masks = [*_masks(evidence, earlier), ""]
    for queries in [value.name for value in earlier.same if "[" not in value.name][:QUERIES]:
        for values, keys in zip(stores, stores[1:], strict=False):
            for mask in masks:
                for scale in (1.0, shape[-1] ** -0.5):
                    names = {"queries": queries, "keys": keys, "values": values, "mask": mask}
                    found = _with(earlier, names, scale)
                    if found and _is(evidence, found):
                        return found, names
    return None


def _is_store(found: Sequence[int], context: Sequence[int]) -> bool:
    """Whether a shape may be that of keys or values ``[batch, kv_head, key, channel]``."""
    same = len(found) == 4 and found[0] == context[0] and found[3] == context[3]
    return same and 0 < found[1] <= context[2] and context[2] % found[1] == 0


def _masks(evidence: Evidence, earlier: Earlier) -> list[str]:
    return earlier.masks(evidence.pieces[0].oracle.shape[:2])


def _with(earlier: Earlier, names: dict[str, str], scale: float) -> list[Attention] | None:
    parts = [earlier.tensors(names[part]) for part in ("queries", "keys", "values")]
    mask = earlier.tensors(names["mask"]) if names["mask"] else None
    if any(part is None for part in parts) or (names["mask"] and mask is None):
        return None
    queries, keys, values = (part for part in parts if part is not None)
    seen = [None] * len(queries) if mask is None else [each > 0 for each in mask]
    if any(k.shape != v.shape for k, v in zip(keys, values, strict=True)):
        return None
    if any(m is not None and m.shape != (q.shape[0], q.shape[1], k.shape[2])
           for m, q, k in zip(seen, queries, keys, strict=True)):  # fmt: skip
        return None
    return [Attention(*each, scale) for each in zip(queries, keys, values, seen, strict=True)]


def _is(evidence: Evidence, found: Sequence[Attention]) -> bool:
    """Whether the oracle's step is that attention: a few rows first."""
    for piece, attention in zip(evidence.pieces, found, strict=True):
        kept = _kept(piece.oracle.shape[1])
        if not _near(attention.rows(kept).context(), piece.oracle[:, kept], piece.counted[:, kept]):
            return False
    return True


def _kept(tokens: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, tokens - 1, min(tokens, ROWS)).astype(np.int64))


def _near(made: Float, true: Float, counted: Mask) -> bool:
    return bool(np.square(np.where(counted, made - true, 0.0)).sum() <= TRUE**2 * np.square(true).sum())


def _attended(
    evidence: Evidence, earlier: Earlier, found: list[Attention], names: dict[str, str]
) -> Iterator[Hypothesis]:
    sampled = [
        (attention.rows(kept), piece.candidate[:, kept], piece.counted[:, kept])
        for attention, piece in zip(found, evidence.pieces, strict=True)
        for kept in [_kept(piece.oracle.shape[1])]
    ]

    def left(times: float) -> float:
        return sum(
            float(np.square(np.where(counted, replace(one, scale=one.scale * times).context() - made, 0.0)).sum())
            for one, made, counted in sampled
        )

    best = _least(left)
    scaled = [replace(one, scale=one.scale * best).context() for one in found]
    yield _instead(evidence, "scores", f"the scores are multiplied by {factor(best)}", scaled, freedom=1)
    for axis, what in ((-2, "the queries"), (-3, "the heads")):
        said = f"the softmax is over {what} instead of the keys"
        yield _instead(evidence, "softmax-axis", said, [one.context(axis) for one in found])
    for name, said, wrong in _otherwise(evidence, earlier, found, names):
        if _promising(evidence, wrong):
            yield _instead(evidence, name, said, [one.context() for one in wrong])


def _otherwise(
    evidence: Evidence, earlier: Earlier, found: list[Attention], names: dict[str, str]
) -> Iterator[tuple[str, str, list[Attention]]]:
    """Attention with another mask, other queries, or keys and values of another step."""
    for mask in (*_masks(evidence, earlier), ""):
        if mask != names["mask"] and (other := earlier.tensors(mask) if mask else ()) is not None:
            seen = [each > 0 for each in other] if mask else [None] * len(found)
            if all(m is None or one.mask is None or m.shape == one.mask.shape
                   for m, one in zip(seen, found, strict=True)):  # fmt: skip
                said = f"the mask is {mask}" if mask else "there is no mask"
                pairs = zip(found, seen, strict=True)
                yield "mask", said, [replace(one, mask=m) for one, m in pairs]
    for name in [value.name for value in earlier.same if value.name != names["queries"]]:
        if (other := earlier.tensors(name)) is not None:
            pairs = zip(found, other, strict=True)
            yield "queries", f"the queries are {name}", [replace(one, queries=q) for one, q in pairs]
    for part in ("keys", "values"):
        for name, other in _stores(earlier, names[part], found):
            pairs = zip(found, other, strict=True)
            yield part, f"the {part} are {name}", [replace(one, **{part: x}) for one, x in pairs]
    for by, whose in ((1, "before"), (-1, "behind")):
        rolled = [replace(one, mask=None if one.mask is None else np.roll(one.mask, by, 2)) for one in found]
        yield "mask", f"each key is seen where the one {whose} it should be", rolled


def _stores(earlier: Earlier, own: str, found: list[Attention]) -> Iterator[tuple[str, tuple[Float, ...]]]:
    """Other steps that have the shape of keys and values: those not long before, and the same step of other layers."""
    for name in (*earlier.names, *earlier.like(own)):
        if name != own and earlier.shape(name) == found[0].keys.shape:
            tensors = earlier.tensors(name)
            if tensors and all(x.shape == one.keys.shape for x, one in zip(tensors, found, strict=True)):
                yield name, tensors


def _promising(evidence: Evidence, wrong: Sequence[Attention]) -> bool:
    rest = energy = 0.0
    for piece, attention in zip(evidence.pieces, wrong, strict=True):
        kept = _kept(piece.oracle.shape[1])
        apart = np.where(piece.counted[:, kept], attention.rows(kept).context() - piece.candidate[:, kept], 0.0)
        rest, energy = rest + float(np.square(apart).sum()), energy + float(np.square(piece.error[:, kept]).sum())
    return rest < PROMISING * energy


def _least(left: Callable[[float], float]) -> float:
    """The factor that leaves least: the best of a grid, then by golden section."""
    grid = np.geomspace(1 / WIDEST, WIDEST, 49)
    best = int(np.argmin([left(float(times)) for times in grid]))
    low, high = (math.log(grid[max(0, best - 1)]), math.log(grid[min(len(grid) - 1, best + 1)]))
    golden = (math.sqrt(5) - 1) / 2
    while high - low > FINEST:
        one, other = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, other) if left(math.exp(one)) < left(math.exp(other)) else (one, high)
    return math.exp((low + high) / 2)


def _instead(evidence: Evidence, name: str, says: str, values: Sequence[Float], freedom: int = 0) -> Hypothesis:
    pairs = zip(evidence.pieces, values, strict=True)
    effect = flat(np.where(piece.counted, value - piece.oracle, 0.0) for piece, value in pairs)
    return Hypothesis(name, effect, says, freedom=freedom)
